"""Builds an audit: the journal, the disk, and every bucket with the role's own credentials."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from shipper.config.load import Configuration
from shipper.config.schema import suggestion
from shipper.core.backoff import Backoff
from shipper.core.destinations import Destination, shown
from shipper.core.object_keys import InstanceFacts, destined
from shipper.core.own_keys import own_keys
from shipper.core.tag_fields import resolved
from shipper.core.types import WatchName
from shipper.edges.files.directory_files import DirectoryFiles
from shipper.edges.s3.store import S3Store
from shipper.journal.journal import Journal
from shipper.journal.review import Review
from shipper.ports import PortError
from shipper.reports.audit import Asked, Audit, Progress
from shipper.reports.audit_disk import Disk
from shipper.reports.audit_listing import Bucket, Listing
from shipper.runtime.logs import silent
from shipper.runtime.state_directory import journal_path
from shipper.runtime.wiring_identity import Identity, identity_for
from shipper.runtime.wiring_store import store_for
from shipper.services.sending.retry import RetryPolicy
from shipper.services.sending.tasks import Blocking

BACKOFF = Backoff(attempts=6)
T = TypeVar("T")


@contextmanager
def audit_of(
    configuration: Configuration, environment: Mapping[str, str], asked: Asked, progress: Progress
) -> Iterator[Audit]:
    """An audit that has not begun.

    Raises:
        PortError: ``NoSuchWatch``; the journal's; the instance is not known.
    """
    _require_watch(configuration, asked.watch)
    path = journal_path(configuration.state_directory)
    with ExitStack() as stack:
        journal, review = Journal.open_read_only(path), Review.open(path)
        stack.callback(journal.close)
        stack.callback(review.close)
        identity = identity_for(configuration, environment, silent())
        identity.instance_lookup.step()
        facts = identity.instance_lookup.facts
        if facts is None:
            assert identity.instance_lookup.problem is not None
            raise identity.instance_lookup.problem
        building = _Building(
            configuration=configuration,
            asked=asked,
            identity=identity,
            facts=facts,
            journal=journal,
            stack=stack,
        )
        now = time.time()
        yield Audit(
            instance_id=facts.instance_id,
            watches=configuration.watches,
            journal=journal,
            review=review,
            buckets=building.buckets(),
            disk=Disk(
                files=DirectoryFiles(),
                journal=journal,
                now=now,
                booted_at=now - time.clock_gettime(time.CLOCK_BOOTTIME),
            ),
            now=now,
            asked=asked,
            progress=progress,
        )


def _require_watch(configuration: Configuration, name: WatchName | None) -> None:
    names = [watch.name for watch in configuration.watches]
    if name is not None and name not in names:
        raise PortError("NoSuchWatch", f"no watch is called {name!r}", suggestion(name, [*names]))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Building:
    """What buckets are built of."""

    configuration: Configuration
    asked: Asked
    identity: Identity
    facts: InstanceFacts
    journal: Journal
    stack: ExitStack

    def buckets(self) -> list[Bucket]:
        """Those that have something of what is asked; destinations may share one."""
        names = defaultdict[object, list[str]](list)
        for name, one in self.configuration.used_destinations.items():
            names[one.endpoint_url, resolved(one, self.facts.tags).bucket].append(name)
        return [bucket for each in names.values() if (bucket := self._bucket(each)).keys]

    def _bucket(self, names: list[str]) -> Bucket:
        """Asked with the credentials of the first of its destinations."""
        destination = self.configuration.used_destinations[names[0]]
        destination = resolved(destination, self.facts.tags)
        used = [
            (watch, resolved(self.configuration.destination_of(watch), self.facts.tags))
            for watch in self.configuration.watches
            if watch.destination in names
        ]
        keys = [
            own_keys(one.key, destined(self.facts, one), watch.name)
            for watch, one in used
            if self.asked.watch in (None, watch.name)
        ]
        store = self._store(destination)
        asking = _asking(self.journal, _requirement(self.identity, destination, names))
        return Bucket(
            name=destination.bucket,
            destinations=names,
            keys=keys,
            roots={one.prefix for _, one in used} | {destination.prefix},
            listing=Listing(
                lambda prefix, after: asking(lambda: store.objects(prefix, after=after)),
                [one.beginning for one in keys],
            ),
            find=lambda key: asking(lambda: store.find(key)),
            moved_at={name: self.journal.of(name).origin.moved_at() for name in names},
        )

    def _store(self, destination: Destination) -> S3Store:
        store = store_for(
            destination,
            self.facts,
            self.identity.keeper_of(destination).current,
            watches={},
            redact=self.identity.redactor.text,
        )
        self.stack.callback(store.close)
        return store


def _requirement(
    identity: Identity, destination: Destination, names: list[str]
) -> Callable[[], None]:
    """What raises why nothing can be asked; it refreshes credentials that are due."""

    def require() -> None:
        for name in names:
            unfit = identity.instance_lookup.problem_of(name)
            if unfit is not None:
                raise unfit
        for keeper in identity.keepers:
            keeper.step()
        state = identity.keeper_of(destination).state()
        if not state.is_usable:
            whose = f"destination {shown(names[0])}: {state.detail}"
            raise PortError(state.code or state.state.value, whose, state.hint)

    return require


@dataclass(frozen=True, slots=True)
class _Asking:
    """Asks S3, with retries, in the thread that waits for the answer."""

    retry_policy: RetryPolicy
    blocking: Blocking
    require: Callable[[], None]

    def __call__(self, request: Callable[[], Future[T]]) -> T:
        self.require()
        return self.blocking.run(self.retry_policy(request))


def _asking(journal: Journal, require: Callable[[], None]) -> _Asking:
    stopping = threading.Event()
    policy = RetryPolicy(stopping=stopping, rng=Random(), backoff=BACKOFF)
    return _Asking(
        policy, Blocking(journal=journal, wait=stopping.wait, moved=lambda: None), require
    )

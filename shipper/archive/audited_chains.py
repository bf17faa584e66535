"""The chains of a bucket's manifests, read and followed; what they say goes into a spill."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from shipper.archive.buckets import ReadBucket
from shipper.archive.entry_spill import EntrySpill
from shipper.archive.stored_manifests import UNREADABLE, Decode, Entry, links
from shipper.core.archived import ArchivedObject
from shipper.core.chains import (
    Epoch,
    Limits,
    entry_problem,
    followed,
    instance_findings,
    newest_of,
    seconds,
    tail_finding,
    with_cut_tail,
)
from shipper.core.findings import Code, Finding
from shipper.core.heartbeats import DIRECTORY as FLEET_DIRECTORY
from shipper.core.heartbeats import MOST_BYTES, Heartbeat, NoHeartbeat, decoded
from shipper.core.key_owners import instance_directory
from shipper.core.manifests import DIRECTORY, LossEntry, ManifestName, name_from_key
from shipper.core.object_keys import fact
from shipper.core.types import ObjectKey
from shipper.ports import PortError

_MOST_IMPOSSIBLE = 100
"""Entries of one manifest that are named; who writes one may write millions."""
_MOST_DIRECTORIES = 10_000


@dataclass(frozen=True, slots=True)
class Scope:
    """What is audited. Instances are ids as EC2 has them; none of them: all there are."""

    limits: Limits
    since: float = 0.0
    instances: tuple[str, ...] = ()
    expected: frozenset[str] = frozenset()
    sample_percent: float = 0.0
    seed: str = ""


@dataclass(slots=True)
class Counts:
    """How far it is, and in the end what there was."""

    instances: int = 0
    epochs: int = 0
    manifests: int = 0
    entries: int = 0
    losses: dict[str, int] = field(default_factory=dict)
    objects: int = 0
    bytes: int = 0
    matched: int = 0
    unentered: dict[str, int] = field(default_factory=dict)
    """Objects without an entry for which there is a good reason, by ``core.chains.Unentered``."""
    too_old: int = 0
    """Entries and objects from before ``since`` that were not compared."""
    compared: int = 0
    compared_bytes: int = 0
    not_restored: int = 0
    without_digest: int = 0


class AuditedChains:
    """``epochs`` are by instance, as they began; ``numbers`` are those that the spill has."""

    def __init__(
        self, bucket: ReadBucket, scope: Scope, decode: Decode, spill: EntrySpill, counts: Counts
    ) -> None:
        self.epochs: dict[str, list[Epoch]] = {}
        self.numbers: dict[str, int] = {}
        self.directories: set[str] = set()
        """Where the logs of the instances that are asked for are, by their entries."""
        self._archive = bucket.archive
        self._prefix = bucket.prefix
        self._scope = scope
        self._decode = decode
        self._spill = spill
        self._counts = counts

    def findings(self) -> Iterator[Finding]:
        """Everything that is wrong about manifests; then ``epochs`` and the spill are whole."""
        for instance in self._instances():
            yield from self._chains(instance)
        known = {epoch.name for epochs in self.epochs.values() for epoch in epochs}
        expected = {fact(one) for one in self._scope.expected}
        for instance, epochs in self.epochs.items():
            yield from instance_findings(
                epochs, self._scope.limits, is_expected=instance in expected, known=known
            )

    def _instances(self) -> Iterator[str]:
        if self._scope.instances:
            yield from map(fact, self._scope.instances)
            return
        top = f"{self._prefix}{DIRECTORY}instance="
        for directory in self._archive.directories(f"{self._prefix}{DIRECTORY}"):
            if directory.startswith(top):
                yield directory.removeprefix(top).removesuffix("/")

    def _chains(self, instance: str) -> Iterator[Finding]:
        number = self.numbers.setdefault(instance, len(self.numbers))
        wrong = list[Finding]()

        def found(name: ManifestName, entry: Entry) -> None:
            self._take(number, name, entry, wrong)

        heartbeat = self._heartbeat(instance)  # before the listing: the chain can only be newer
        epochs = dict[str, Epoch]()
        names = self._manifests(instance, wrong)
        for link in links(self._archive, names, self._decode, found):
            self._counts.manifests += 1
            epochs[link.name.epoch], broken = followed(
                epochs.get(link.name.epoch), link, is_partial=self._scope.limits.is_partial
            )
            yield from broken
            yield from wrong
            wrong.clear()
        yield from wrong
        if epochs:
            self._counts.instances += 1
            self._counts.epochs += len(epochs)
            self.epochs[instance] = sorted(epochs.values(), key=lambda epoch: epoch.from_)
            if heartbeat is not None:
                yield from _cut(self.epochs[instance], heartbeat)

    def _heartbeat(self, instance: str) -> Heartbeat | None:
        """The one that is overwritten; those of hours are not looked for."""
        key = f"{self._prefix}{FLEET_DIRECTORY}instance={instance}/heartbeat.json"
        body = bytearray()
        try:
            for piece in self._archive.read(ObjectKey(key)):
                body += piece
                if len(body) > MOST_BYTES:
                    break
            return decoded(bytes(body))
        except NoHeartbeat:
            return None
        except PortError as error:
            if error.code not in UNREADABLE:
                raise
            return None

    def _manifests(
        self, instance: str, wrong: list[Finding]
    ) -> Iterator[tuple[ManifestName, ArchivedObject]]:
        prefix = self._prefix
        for stored in self._archive.listed(f"{prefix}{DIRECTORY}instance={instance}/"):
            name = name_from_key(stored.key)
            if name is None or name.prefix != prefix:
                stray = "it lies among manifests and is none"
                wrong.append(Finding(Code.STRAY_KEY, instance, stored.key, stray))
            elif stored.modified_at >= self._scope.since:
                yield name, stored

    def _take(self, number: int, name: ManifestName, entry: Entry, wrong: list[Finding]) -> None:
        if problem := entry_problem(entry, self._prefix):
            detail = f"it names {entry.key[:200]!r}: {problem}"
            if len(wrong) < _MOST_IMPOSSIBLE:
                wrong.append(Finding(Code.IMPOSSIBLE_ENTRY, name.instance, name.key, detail))
            return
        if isinstance(entry, LossEntry):
            tally(self._counts.losses, entry.loss)
        self._counts.entries += 1
        self._spill.add(number, entry)
        if self._scope.instances:
            prefix = self._prefix
            self._add_directory(instance_directory(entry.key, prefix, name.instance))

    def _add_directory(self, directory: str) -> None:
        full = len(self.directories) >= _MOST_DIRECTORIES
        self.directories.add(self._prefix if full else directory)


def _cut(epochs: list[Epoch], heartbeat: Heartbeat) -> Iterator[Finding]:
    """What is cut off at the end, if anything is; it is noted in the newest epoch."""
    said = [(one.manifest, one.manifest_sha256) for one in heartbeat.destinations if one.manifest]
    try:
        said_at = seconds(heartbeat.at)
    except ValueError:
        return
    if cut := tail_finding(epochs, said, said_at):
        yield cut
        newest = newest_of(epochs)
        epochs[epochs.index(newest)] = with_cut_tail(newest, said, said_at)


def tally(counts: dict[str, int], one: str) -> None:
    counts[one] = counts.get(one, 0) + 1

"""The manifests of a bucket, followed and compared with what the bucket holds.

1. The chain of each instance is read and followed; its entries go into an ``EntrySpill``.
2. The spilled entries and the listing, both in byte order, are merged: what only one of them has,
   or both have differently, is found. A sample of the rest is fetched and compared.

So memory grows with the instances and their epochs, and not with objects or manifests.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from shipper.archive.ahead import ahead
from shipper.archive.buckets import ReadBucket
from shipper.archive.content import compared, is_readable
from shipper.archive.entry_spill import EntrySpill, Spilled
from shipper.archive.key_reading import KeyReader
from shipper.archive.log_listing import instance_prefixes, logs
from shipper.archive.merge import difference, has_other_content, merged
from shipper.archive.stored_manifests import UNREADABLE, Decode, Entry, links
from shipper.core.archived import ArchivedObject
from shipper.core.chains import (
    Epoch,
    Limits,
    Unentered,
    entry_problem,
    followed,
    instance_findings,
    is_sampled,
    newest_of,
    seconds,
    tail_finding,
    time_text,
    why_unentered,
    with_cut_tail,
)
from shipper.core.findings import Code, Finding
from shipper.core.heartbeats import DIRECTORY as FLEET_DIRECTORY
from shipper.core.heartbeats import MOST_BYTES, Heartbeat, NoHeartbeat, decoded
from shipper.core.key_owners import instance_directory, owner
from shipper.core.manifests import DIRECTORY, LossEntry, ManifestName, name_from_key
from shipper.core.object_keys import fact
from shipper.core.types import ObjectKey
from shipper.ports import PortError

_MOST_UNKNOWN = 100_000
"""Instances without manifests that are counted one by one."""


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


@dataclass(frozen=True, slots=True)
class _Sample:
    stored: ArchivedObject
    entry: Spilled


class Proof:
    """One audit of one bucket; ``counts`` may be read while it runs."""

    def __init__(
        self, bucket: ReadBucket, scope: Scope, decode: Decode, spill: EntrySpill
    ) -> None:
        self.counts = Counts()
        self._archive = bucket.archive
        self._prefix = bucket.prefix
        self._keys = KeyReader(bucket)
        self._scope = scope
        self._decode = decode
        self._spill = spill
        self._epochs: dict[str, list[Epoch]] = {}
        self._numbers: dict[str, int] = {}
        self._directories: set[str] = set()
        self._unknown: dict[str, list[float]] = {}

    def findings(self) -> Iterator[Finding]:
        """Everything that is found, as it is found."""
        for instance in self._instances():
            yield from self._chains(instance)
        known = {epoch.name for epochs in self._epochs.values() for epoch in epochs}
        expected = {fact(one) for one in self._scope.expected}
        for instance, epochs in self._epochs.items():
            yield from instance_findings(
                epochs, self._scope.limits, is_expected=instance in expected, known=known
            )
        yield from self._content(self._compared())
        yield from self._silent(expected | {fact(one) for one in self._scope.instances})

    # The chains.

    def _instances(self) -> Iterator[str]:
        if self._scope.instances:
            yield from map(fact, self._scope.instances)
            return
        top = f"{self._prefix}{DIRECTORY}instance="
        for directory in self._archive.directories(f"{self._prefix}{DIRECTORY}"):
            if directory.startswith(top):
                yield directory.removeprefix(top).removesuffix("/")

    def _chains(self, instance: str) -> Iterator[Finding]:
        number = self._numbers.setdefault(instance, len(self._numbers))
        wrong = list[Finding]()

        def found(name: ManifestName, entry: Entry) -> None:
            self._take(number, name, entry, wrong)

        heartbeat = self._heartbeat(instance)  # before the listing: the chain can only be newer
        epochs = dict[str, Epoch]()
        names = self._manifests(instance, wrong)
        for link in links(self._archive, names, self._decode, found):
            self.counts.manifests += 1
            epochs[link.name.epoch], broken = followed(
                epochs.get(link.name.epoch), link, is_partial=self._scope.limits.is_partial
            )
            yield from broken
            yield from wrong
            wrong.clear()
        yield from wrong
        if epochs:
            self.counts.instances += 1
            self.counts.epochs += len(epochs)
            self._epochs[instance] = sorted(epochs.values(), key=lambda epoch: epoch.from_)
            if heartbeat is not None:
                yield from _cut(self._epochs[instance], heartbeat)

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
            wrong.append(Finding(Code.IMPOSSIBLE_ENTRY, name.instance, name.key, detail))
            return
        if isinstance(entry, LossEntry):
            _count(self.counts.losses, entry.loss)
        self.counts.entries += 1
        self._spill.add(number, entry)
        if self._scope.instances:
            prefix = self._prefix
            self._directories.add(instance_directory(entry.key, prefix, name.instance))

    # The comparison.

    def _compared(self) -> Iterator[Finding | _Sample]:
        names = list(self._numbers)
        for rows, stored in merged(self._spill.sorted(), self._logs()):
            if stored is not None:
                self.counts.objects += 1
                self.counts.bytes += stored.size_bytes
            if rows:
                yield from self._judged(names[rows[-1].instance], rows, stored)
            elif stored is not None:
                yield from self._unentered(stored)

    def _judged(
        self, instance: str, rows: Sequence[Spilled], stored: ArchivedObject | None
    ) -> Iterator[Finding | _Sample]:
        if has_other_content(rows):
            detail = "manifests say different things of its content"
            yield Finding(Code.DOUBLE_ENTRY, instance, rows[-1].key, detail)
        if stored is None:
            yield from self._missing(instance, rows[-1])
            return
        fitting = [row for row in rows if row.is_loss or not difference(row, stored)]
        if fitting:
            self.counts.matched += 1
            yield from self._sampled(fitting[-1], stored)
        else:
            detail = difference(rows[-1], stored)
            yield Finding(Code.ALTERED_OBJECT, instance, stored.key, detail)

    def _missing(self, instance: str, entry: Spilled) -> Iterator[Finding]:
        if entry.is_loss:
            return
        if entry.sent_at < self._scope.since:
            self.counts.too_old += 1
            return
        detail = f"{entry.size:,} bytes, sent at {time_text(entry.sent_at)}, are not there"
        yield Finding(Code.MISSING_OBJECT, instance, entry.key, detail)

    def _unentered(self, stored: ArchivedObject) -> Iterator[Finding]:
        """Of an object without an entry: whether there is a good reason."""
        scope = self._scope
        if stored.modified_at < scope.since:
            self.counts.too_old += 1
            return
        instance = self._owner(stored.key)
        epochs = self._epochs.get(instance)
        if epochs is None and instance and self._is_counted(instance, stored.modified_at):
            return
        if scope.instances and not epochs:
            return  # another instance's, or one of which nothing tells whose it is
        why = _why_unentered(stored.modified_at, epochs, self._epochs, scope.limits)
        if why is not Unentered.WRONG:
            _count(self.counts.unentered, why)
            return
        detail = f"{stored.size_bytes:,} bytes of {time_text(stored.modified_at)} are in no "
        detail += "manifest"
        yield Finding(Code.WITHOUT_ENTRY, instance, stored.key, detail)

    def _owner(self, key: str) -> str:
        told = self._keys.told(key)
        if told is not None and told.instance:
            return fact(told.instance)
        return owner(key, self._prefix, self._numbers)

    def _is_counted(self, instance: str, modified_at: float) -> bool:
        """Whether the object counts among those of an instance without manifests."""
        if self._scope.instances and instance not in self._numbers:
            return False
        earliest = min((one[0].from_ for one in self._epochs.values()), default=-math.inf)
        if modified_at <= earliest:
            _count(self.counts.unentered, Unentered.BEFORE)
            return True
        if instance not in self._unknown and len(self._unknown) == _MOST_UNKNOWN:
            return False
        count, newest = self._unknown.get(instance, (0, 0.0))
        self._unknown[instance] = [count + 1, max(newest, modified_at)]
        return True

    def _silent(self, expected: set[str]) -> Iterator[Finding]:
        for instance, (count, newest) in sorted(self._unknown.items()):
            detail = f"{count:,.0f} logs and no manifest; the newest is of {time_text(newest)}"
            yield Finding(Code.NO_MANIFESTS, instance, "", detail)
        for instance in sorted(expected - self._epochs.keys() - self._unknown.keys()):
            yield Finding(Code.NEVER_WROTE, instance, "", "it has neither manifests nor logs here")

    def _logs(self) -> Iterator[ArchivedObject]:
        below = set(self._directories)
        for instance in self._scope.instances:
            below |= set(instance_prefixes(self._archive, self._keys, instance))
        return logs(
            self._archive, self._prefix, below if self._scope.instances else {self._prefix}
        )

    # The content.

    def _sampled(self, entry: Spilled, stored: ArchivedObject) -> Iterator[_Sample]:
        scope = self._scope
        if entry.is_loss or not is_sampled(entry.key, scope.sample_percent, scope.seed):
            return
        if not entry.sha256:
            self.counts.without_digest += 1
        elif not is_readable(stored):
            self.counts.not_restored += 1
        else:
            yield _Sample(stored, entry)

    def _content(self, found: Iterator[Finding | _Sample]) -> Iterator[Finding]:
        names = list(self._numbers)

        def compare(one: Finding | _Sample) -> Finding | int | None:
            if isinstance(one, Finding):
                return one
            return compared(
                self._archive,
                one.stored,
                instance=names[one.entry.instance],
                sha256=one.entry.sha256,
                compression=one.entry.compression,
                decode=self._decode,
            )

        for one, result in ahead(compare, found):
            if isinstance(result, Finding):
                yield result
            elif result is None:
                self.counts.not_restored += 1
            if isinstance(one, _Sample) and result is not None:
                self.counts.compared += 1
                self.counts.compared_bytes += result if isinstance(result, int) else 0


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


def _count(counts: dict[str, int], one: str) -> None:
    counts[one] = counts.get(one, 0) + 1


def _why_unentered(
    modified_at: float,
    own: Sequence[Epoch] | None,
    every: dict[str, list[Epoch]],
    limits: Limits,
) -> Unentered:
    """Where the key does not tell the instance, an excuse that one of them has counts."""
    if own:
        return why_unentered(modified_at, own, limits)
    if not every:
        return Unentered.WRONG
    found = {why_unentered(modified_at, epochs, limits) for epochs in every.values()}
    order = (Unentered.PENDING, Unentered.IN_HOLE, Unentered.JOURNAL_LOST, Unentered.WRONG)
    return next((why for why in order if why in found), Unentered.BEFORE)

"""The manifests of a bucket, followed and compared with what the bucket holds.

1. The chain of each instance is read and followed; its entries go into an ``EntrySpill``.
2. The spilled entries and the listing, both in byte order, are merged: what only one of them has,
   or both have differently, is found. A sample of the rest is fetched and compared.

So memory grows with the instances and their epochs, and not with objects or manifests.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shipper.archive.ahead import ahead
from shipper.archive.audited_chains import AuditedChains, Counts, Scope, tally
from shipper.archive.buckets import ReadBucket
from shipper.archive.content import compared, is_readable
from shipper.archive.entry_spill import EntrySpill, Spilled
from shipper.archive.log_listing import instance_prefixes, logs
from shipper.archive.merge import difference, has_other_content, merged, telling
from shipper.archive.stored_manifests import Decode
from shipper.core.archived import ArchivedObject
from shipper.core.chains import (
    Epoch,
    Limits,
    Unentered,
    is_sampled,
    time_text,
    why_unentered,
)
from shipper.core.findings import Code, Finding
from shipper.core.key_owners import owner
from shipper.core.object_keys import fact

_MOST_UNKNOWN = 100_000
"""Instances without manifests that are counted one by one."""


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
        self._bucket = bucket
        self._chains = AuditedChains(bucket, scope, decode, spill, self.counts)
        self._keys = self._chains.keys
        self._archive = bucket.archive
        self._scope = scope
        self._decode = decode
        self._spill = spill
        self._unknown: dict[str, list[float]] = {}

    def findings(self) -> Iterator[Finding]:
        """Everything that is found, as it is found."""
        yield from self._chains.findings()
        yield from self._content(self._compared())
        yield from self._silent(
            {*map(fact, self._scope.expected), *map(fact, self._scope.instances)}
        )

    # The comparison.

    def _compared(self) -> Iterator[Finding | _Sample]:
        names = list(self._chains.numbers)
        for rows, stored in merged(self._spill.sorted(), self._logs()):
            if stored is not None:
                self.counts.objects += 1
                self.counts.bytes += stored.size_bytes
            if stored is not None and (not rows or rows[-1].is_loss):
                yield from self._unentered(stored, rows)
            elif rows:
                yield from self._judged(names[rows[-1].instance], rows, stored)

    def _judged(
        self, instance: str, rows: Sequence[Spilled], stored: ArchivedObject | None
    ) -> Iterator[Finding | _Sample]:
        if has_other_content(rows):
            detail = "manifests say different things of its content"
            yield Finding(Code.DOUBLE_ENTRY, instance, rows[-1].key, detail)
        if stored is None:
            yield from self._missing(instance, rows[-1])
            return
        self.counts.named += 1
        judging = telling(rows)
        fitting = [row for row in judging if not difference(row, stored)]
        if fitting:
            self.counts.matched += 1
            self.counts.by_size += not (fitting[-1].etag and stored.etag)
            yield from self._sampled(fitting[-1], stored)
        else:
            self.counts.altered += 1
            detail = difference(judging[-1], stored)
            yield Finding(Code.ALTERED_OBJECT, instance, stored.key, detail)

    def _missing(self, instance: str, entry: Spilled) -> Iterator[Finding]:
        if entry.is_loss:
            return
        if entry.sent_at < self._scope.since:
            self.counts.too_old += 1
            return
        self.counts.named += 1
        self.counts.missing += 1
        when = time_text(entry.sent_at) if entry.sent_at else "an unknown time"
        detail = f"{entry.size:,} bytes, sent at {when}, are not there"
        yield Finding(Code.MISSING_OBJECT, instance, entry.key, detail)

    def _unentered(self, stored: ArchivedObject, rows: Sequence[Spilled]) -> Iterator[Finding]:
        """Of an object without an entry, or with ``rows`` that tell of its loss: whether there is
        a good reason."""
        scope = self._scope
        if stored.modified_at < scope.since:
            self.counts.too_old += 1
            return
        instance = self._owner(stored.key)
        epochs = self._chains.epochs.get(instance)
        if epochs is None and instance and self._is_counted(instance, stored.modified_at):
            return
        if scope.instances and not epochs:
            return  # another instance's, or one of which nothing tells whose it is
        why = _why_unentered(stored.modified_at, epochs, self._chains.epochs, scope.limits)
        if why is not Unentered.WRONG:
            tally(self.counts.unentered, why)
            return
        detail = f"{stored.size_bytes:,} bytes of {time_text(stored.modified_at)} are in no "
        detail += "manifest, but as lost or parked" if rows else "manifest"
        yield Finding(Code.WITHOUT_ENTRY, instance, stored.key, detail)

    def _owner(self, key: str) -> str:
        told = self._keys.told(key)
        if told is not None and told.instance:
            return fact(told.instance)
        beginning = self._keys.beginning(key) or self._bucket.prefix
        return owner(key, beginning, self._chains.numbers)

    def _is_counted(self, instance: str, modified_at: float) -> bool:
        """Whether the object counts among those of an instance without manifests."""
        if self._scope.instances and instance not in self._chains.numbers:
            return False
        earliest = min((one[0].from_ for one in self._chains.epochs.values()), default=-math.inf)
        if modified_at <= earliest:
            tally(self.counts.unentered, Unentered.BEFORE)
            return True
        if instance not in self._unknown and len(self._unknown) == _MOST_UNKNOWN:
            return False
        count, newest = self._unknown.get(instance, (0, 0.0))
        self._unknown[instance] = [count + 1, max(newest, modified_at)]
        return True

    def _silent(self, expected: set[str]) -> Iterator[Finding]:
        for instance, (count, newest) in sorted(self._unknown.items()):
            detail = f"{count:,.0f} log{'s' * (count != 1)} and no manifest; the newest is of "
            detail += time_text(newest)
            yield Finding(Code.NO_MANIFESTS, instance, "", detail)
        for instance in sorted(expected - self._chains.epochs.keys() - self._unknown.keys()):
            yield Finding(Code.NEVER_WROTE, instance, "", "it has neither manifests nor logs here")

    def _logs(self) -> Iterator[ArchivedObject]:
        below = set(self._chains.directories if self._scope.instances else self._keys.beginnings)
        for instance in self._scope.instances:
            below |= set(instance_prefixes(self._archive, self._keys, instance))
        return logs(self._bucket, below)

    # The content.

    def _sampled(self, entry: Spilled, stored: ArchivedObject) -> Iterator[_Sample]:
        scope = self._scope
        if not is_sampled(entry.key, scope.sample_percent, scope.seed):
            return
        if not entry.sha256:
            self.counts.without_digest += 1
        elif not is_readable(stored):
            self.counts.not_restored += 1
        else:
            yield _Sample(stored, entry)

    def _content(self, found: Iterator[Finding | _Sample]) -> Iterator[Finding]:
        names = list(self._chains.numbers)

        def compare(one: Finding | _Sample) -> Finding | int | None:
            if isinstance(one, Finding):
                return one
            return compared(
                self._archive,
                one.stored,
                instance=names[one.entry.instance],
                sha256=one.entry.sha256,
                raw_bytes=one.entry.raw_bytes,
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

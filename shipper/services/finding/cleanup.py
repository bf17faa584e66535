"""Removes what needs no shipment: copies, empty files, and rotated logs that were shipped live.

A removal that is refused is told once, and tried again after ``removal_wait``.
"""

from dataclasses import dataclass
from typing import Any

from shipper.core.disk_space import Excess
from shipper.core.object_keys import printable
from shipper.core.types import (
    AfterUpload,
    FileStat,
    RelativePath,
    Shipment,
    State,
    Watch,
    WatchName,
)
from shipper.ports import Clock, PortError, Source
from shipper.services.finding.candidate import Candidate
from shipper.services.finding.growth_proofs import PENDING, GrowthProofs
from shipper.services.sources.disposal import Disposal, removal_wait
from shipper.services.sources.matching import matches


@dataclass(frozen=True, slots=True)
class _Refused:
    code: str
    again_at: float
    """Monotonic."""


class Cleanup:
    """For the thread that scans."""

    def __init__(
        self, *, disposal: Disposal, proofs: GrowthProofs, clock: Clock, log: Any
    ) -> None:
        self._disposal = disposal
        self._proofs = proofs
        self._clock = clock
        self._log = log
        self._before: dict[tuple[WatchName, RelativePath], _Refused] = {}
        self._refused: dict[tuple[WatchName, RelativePath], _Refused] = {}
        self._excess: dict[int, Excess] = {}
        """What is still to go in this scan, as ``Disposal.excess``."""

    def begin(self) -> None:
        """A scan begins: forget the refusals of files that the last one did not see."""
        self._before, self._refused = self._refused, {}
        self._excess = {**self._disposal.excess}

    def clear_away(self, candidate: Candidate) -> str:
        """Remove it once it is as old as ``delete_after`` asks; the code of a refusal, or ""."""
        watch, known, stat = candidate.watch, candidate.known, candidate.stat
        if watch.after_upload is AfterUpload.KEEP or stat is None:
            return ""
        if known is not None:
            age = self._clock.now() - (known.finished_at or self._clock.now())
        else:
            age = self._clock.monotonic() - (candidate.look.since if candidate.look else 0.0)
        if age < watch.delete_after_seconds and not self._goes_early(watch, stat):
            return ""
        label = (watch.name, candidate.path)
        before = self._before.get(label)
        if before is None or self._clock.monotonic() >= before.again_at:
            code = self._remove(candidate, told=before.code if before else "")
            before = _Refused(code, self._clock.monotonic() + removal_wait(code))
        if before.code:
            self._refused[label] = before
        return before.code

    def _goes_early(self, watch: Watch, stat: FileStat) -> bool:
        excess = self._excess.get(stat.device, Excess())
        return watch.after_upload is AfterUpload.DELETE and excess.asks_for(stat.size_bytes)

    def _account_for(self, stat: FileStat) -> None:
        """Take what was removed off what has to go."""
        if stat.device in self._excess:
            self._excess[stat.device] = self._excess[stat.device].without(stat.size_bytes)

    def _remove(self, candidate: Candidate, *, told: str) -> str:
        watch, path = candidate.watch, printable(candidate.path)
        try:
            removed = self._disposal.remove(
                watch, candidate.path, lambda source: self._is_same(source, candidate)
            )
        except PortError as error:
            if error.code not in (told, PENDING):
                self._log.warning("file.not_removed", watch=watch.name, path=path, **error.words)
            return error.code
        if removed:
            assert candidate.stat is not None
            self._account_for(candidate.stat)
            self._log.info("file.removed", path=path, because=candidate.decision.value)
        return ""

    def _is_same(self, source: Source, candidate: Candidate) -> bool:
        now, stat, known = source.stat(), candidate.stat, candidate.known
        assert stat is not None
        # Bytes in its middle may have changed since the scan looked at it.
        is_it = (now.inode, now.size_bytes, now.mtime_ns) == (
            stat.inode,
            stat.size_bytes,
            stat.mtime_ns,
        )
        return is_it and (known is None or self._is_there(source, known))

    def _is_there(self, source: Source, known: Shipment) -> bool:
        """Whether S3 has all of it; of a duplicate, that was proven."""
        is_duplicate = known.state is State.DUPLICATE
        return matches(source, known) and (
            is_duplicate or self._disposal.is_shipped(source, known, self._proofs.has_bytes_of)
        )

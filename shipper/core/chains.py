"""Whether the manifests of an instance are one unbroken statement, and how far it reaches. Pure.

An epoch's manifests come here in the order of their numbers, and ``followed`` folds them into an
``Epoch``, naming what breaks the chain. What was done to one manifest is named once: where a
manifest cannot be read, or is not in its place, the link behind it is not judged as well.

A manifest lags behind the objects it names: one that S3 has may wait to be verified, and the
clocks of the host and of S3 differ. ``Limits.slack_seconds`` is what is allowed for both.
"""

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise

from shipper.core.findings import Code, Finding
from shipper.core.manifests import Header, LossEntry, ManifestName, ObjectEntry
from shipper.core.object_keys import MAX_KEY_BYTES
from shipper.core.types import Compression

DEFAULT_INTERVAL_SECONDS = 3600.0
"""Where a manifest promises no next one."""
_MOST_HOLES = 100
"""Times of one epoch that are told apart; the last of them grows."""
_LAST = 253_402_300_799.0
"""The end of the year 9999."""
_LAST_WORDS = ("stop", "drain")
_ENDS = (*_LAST_WORDS, "ship")
_LOSSES = ("gone", "superseded", "parked", "duplicate")
_MAX_SIZE = 2**63 - 1
_SHA256 = re.compile(r"([0-9a-f]{64})?")
_ETAG = re.compile(r"[!-~]{0,128}")
RESERVED = ("_manifests/", "_fleet/")
"""Below a prefix, where no logs are."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``now`` is the time of the listing. ``is_partial``: what is older was left out."""

    now: float
    slack_seconds: float
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """A manifest as it lies in the bucket; without a header, ``problem`` says why."""

    name: ManifestName
    modified_at: float
    sha256: str
    header: Header | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Epoch:
    """A chain as far as it was followed. Times are the host's, in seconds since 1970."""

    instance: str
    name: str
    number: int
    sha256: str
    is_sound: bool
    """Whether the newest manifest is what its key says, so that the next link can be judged."""
    from_: float
    newest_from: float
    sound_to: float
    """The ``to`` of the newest manifest that is sound; before the first, none is known."""
    to: float
    to_text: str
    because: str
    begins: str
    before: str
    before_number: int
    before_sha256: str
    interval_seconds: int
    stored_at: float
    """S3's time of the newest manifest."""
    holes: tuple[tuple[float, float], ...] = ()
    """Times of manifests that are missing, or are not what was written: a finding names each.

    They end where a sound one begins. See ``is_in_hole``.
    """

    def is_in_hole(self, at: float, slack: float) -> bool:
        """Whether a manifest that is missing, or is not what was written, may be of this time."""
        tail = () if self.is_sound else ((self.sound_to, self.to),)
        return any(begin - slack <= at <= end + slack for begin, end in (*self.holes, *tail))

    @property
    def due_seconds(self) -> float:
        """How long after ``to`` the next manifest is late: one may fail and be written again."""
        return 2.0 * (self.interval_seconds or DEFAULT_INTERVAL_SECONDS)

    @property
    def end(self) -> float:
        """When it was told of last, by the host's clock or S3's, whichever is earlier."""
        return min(self.to, self.stored_at)

    @property
    def has_stopped(self) -> bool:
        return self.because in _ENDS


def seconds(text: str) -> float:
    """A manifest's time in seconds since 1970.

    Raises:
        ValueError: it is none, has no zone, or is before 1970 or after 9999.
    """
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no zone")
    at = instant.timestamp()
    if not 0 <= at <= _LAST:
        raise ValueError(f"{text!r} is before 1970 or after 9999")
    return at


def time_text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


# One chain.


def followed(epoch: Epoch | None, link: Link, *, is_partial: bool) -> tuple[Epoch, list[Finding]]:
    """The epoch with its next manifest, and what is wrong about that."""
    findings, header = [*_gap(epoch, link, is_partial=is_partial)], link.header
    misplaced = header and _misplaced(header, link.name)
    if header is None or misplaced:
        code = Code.MISPLACED_MANIFEST if misplaced else Code.UNREADABLE_MANIFEST
        findings.append(_of(link, code, misplaced or link.problem))
        return _unsound(epoch, link), findings
    after = _extended(epoch, link, header)
    if findings or (epoch and not epoch.is_sound):
        return _with_hole(after, epoch.sound_to if epoch else -math.inf), findings
    if broken := _broken(epoch, link, header):
        return _with_hole(after, epoch.newest_from if epoch else -math.inf), [broken]
    return after, []


def _with_hole(epoch: Epoch, begin: float) -> Epoch:
    """With one that ends where the newest manifest begins."""
    holes = epoch.holes
    if len(holes) == _MOST_HOLES:
        begin, holes = min(holes[-1][0], begin), holes[:-1]
    return replace(epoch, holes=(*holes, (begin, epoch.newest_from)))


def _gap(epoch: Epoch | None, link: Link, *, is_partial: bool) -> Iterator[Finding]:
    number = link.name.number
    first = epoch.number + 1 if epoch else (number if is_partial else 1)
    if number > first:
        name = replace(link.name, number=first)
        which = f"numbers {first} to {number - 1} are"
        which = f"number {first} is" if number == first + 1 else which
        yield Finding(Code.MISSING_NUMBER, link.name.instance, name.key, f"{which} not there")


def _misplaced(header: Header, name: ManifestName) -> str:
    says = (header.instance, header.epoch, header.number)
    if says == (name.instance, name.epoch, name.number):
        return ""
    return f"it says that it is number {says[2]} of epoch {says[1]} of instance {says[0]}"


def _broken(epoch: Epoch | None, link: Link, header: Header) -> Finding | None:
    """What a manifest says of the one before is about that one, which is named."""
    if epoch is None:
        if header.number == 1 and header.previous:
            return _of(link, Code.BROKEN_LINK, "the first one names one before it")
        return None
    if header.previous != epoch.sha256:
        key = replace(link.name, number=epoch.number).key
        detail = f"it is not the one that number {header.number} followed"
        return Finding(Code.BROKEN_LINK, epoch.instance, key, detail)
    if header.from_ != epoch.to_text:
        detail = f"it begins at {header.from_}, and the one before ended at {epoch.to_text}"
        return _of(link, Code.BROKEN_LINK, detail)
    return None


def _unsound(epoch: Epoch | None, link: Link) -> Epoch:
    """With a manifest of which only S3's time is known."""
    name, at = link.name, link.modified_at
    if epoch is None:
        epoch = Epoch(
            instance=name.instance,
            name=name.epoch,
            number=0,
            sha256="",
            is_sound=False,
            from_=at,
            newest_from=at,
            sound_to=-math.inf,
            to=at,
            to_text="",
            because="",
            begins="",
            before="",
            before_number=0,
            before_sha256="",
            interval_seconds=0,
            stored_at=at,
        )
    to = max(epoch.to, at)
    return replace(
        epoch, number=name.number, is_sound=False, to=to, because="", stored_at=link.modified_at
    )


def _extended(epoch: Epoch | None, link: Link, header: Header) -> Epoch:
    from_, to = seconds(header.from_), seconds(header.to)
    return Epoch(
        instance=link.name.instance,
        name=link.name.epoch,
        number=link.name.number,
        sha256=link.sha256,
        is_sound=True,
        from_=epoch.from_ if epoch else from_,
        newest_from=from_,
        sound_to=to,
        to=to,
        to_text=header.to,
        because=header.because,
        begins=epoch.begins if epoch else header.begins,
        before=epoch.before if epoch else header.before,
        before_number=epoch.before_number if epoch else header.before_number,
        before_sha256=epoch.before_sha256 if epoch else header.before_sha256,
        interval_seconds=header.interval_seconds,
        stored_at=link.modified_at,
        holes=epoch.holes if epoch else (),
    )


def _of(link: Link, code: Code, detail: str) -> Finding:
    return Finding(code, link.name.instance, link.name.key, detail)


# The epochs of one instance.


def newest_of(epochs: Sequence[Epoch]) -> Epoch:
    return max(epochs, key=lambda epoch: epoch.end)


def is_silent(epoch: Epoch, limits: Limits) -> bool:
    """Whether the next manifest is late. After a stop nothing runs that may fail and try again."""
    due = epoch.due_seconds / 2 if epoch.because in _LAST_WORDS else epoch.due_seconds
    return limits.now - epoch.end > due + limits.slack_seconds


class Unentered(StrEnum):
    """Why an object may have no entry."""

    BEFORE = "before"
    """It is older than the first manifest."""
    PENDING = "pending"
    """A manifest to come will name it."""
    JOURNAL_LOST = "journal-lost"
    """The journal that knew it was lost before its next manifest was due."""
    IN_HOLE = "in-hole"
    """The manifest that named it may be one that is missing or altered, which is named."""
    WRONG = "wrong"


def why_unentered(modified_at: float, epochs: Sequence[Epoch], limits: Limits) -> Unentered:
    """Of an object of this instance; ``modified_at`` is S3's. Epochs are as they began."""
    slack = limits.slack_seconds
    if modified_at <= epochs[0].from_:
        return Unentered.BEFORE
    newest = newest_of(epochs)
    is_alive = not newest.has_stopped and not is_silent(newest, limits)
    if any(one.is_in_hole(modified_at, slack) for one in epochs):
        return Unentered.IN_HOLE
    if modified_at > newest.end - slack and (is_alive or modified_at <= newest.end + slack):
        return Unentered.PENDING
    for epoch, after in pairwise(epochs):
        due = epoch.to + epoch.due_seconds + slack
        if epoch.to - slack < modified_at <= min(after.from_ + slack, due):
            return Unentered.JOURNAL_LOST
    return Unentered.WRONG


def entry_problem(entry: ObjectEntry | LossEntry, prefix: str) -> str:
    """Why no shipper can have written the entry into a manifest below this prefix."""
    if not _is_key(entry.key):
        return "no object can have this key"
    if entry.key.startswith(tuple(prefix + name for name in RESERVED)):
        return "no log has such a key"
    if isinstance(entry, ObjectEntry):
        return _content_problem(entry)
    return "" if entry.loss in _LOSSES else f"its loss is {entry.loss[:20]!r}"


def _content_problem(entry: ObjectEntry) -> str:
    if not 0 <= entry.size <= _MAX_SIZE:
        return f"its size is {entry.size}"
    if not _SHA256.fullmatch(entry.sha256) or not _ETAG.fullmatch(entry.etag):
        return "its digest or its ETag is none"
    if not 0 <= entry.raw_start <= entry.raw_end <= _MAX_SIZE:
        return "its range is none"
    if entry.compression not in tuple(Compression):
        return f"its compression is {entry.compression[:20]!r}"
    try:
        sent_at(entry)
    except ValueError:
        return f"it was sent at {entry.last_sent[:40]!r}"
    return ""


def sent_at(entry: ObjectEntry) -> float:
    """When S3 had it; 0 where that is not known."""
    return seconds(entry.last_sent) if entry.last_sent else 0.0


def _is_key(key: str) -> bool:
    try:
        return 0 < len(key.encode()) <= MAX_KEY_BYTES
    except UnicodeEncodeError:
        return False


def is_sampled(key: str, percent: float, seed: str) -> bool:
    """Whether the object is in the sample; the same seed gives the same sample."""
    digest = hashlib.sha256(f"{seed}\0{key}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") < percent / 100 * 2**64

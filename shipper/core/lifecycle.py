"""The life of a shipment: its states, its events, and the one table that joins them.

A shipment starts READY. An event carries what was learned, and ``TABLE`` says which state follows.
The journal writes the result of ``advance`` and nothing else, so no history reaches DONE without
VERIFIED. A finished or parked shipment has no ``due_at``; every other one has.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, assert_never

from shipper.core.intents import with_intent
from shipper.core.types import Compression, ETag, ObjectKey, Shipment, State, UploadId


@dataclass(frozen=True, slots=True)
class UploadOpened:
    upload_id: UploadId
    part_size: int
    abort_at: float | None = None
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class UploadLost:
    code: str


@dataclass(frozen=True, slots=True)
class WriteIntended:
    """A write that stores the whole segment is about to go out. ``etag`` is computed here."""

    etag: ETag
    stored_bytes: int
    raw_sha256: str
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class ObjectStored:
    etag: ETag
    stored_bytes: int
    raw_sha256: str
    checksum: str = ""
    last_sent_at: float = 0.0


@dataclass(frozen=True, slots=True)
class ObjectChecked:
    """S3 confirmed size and checksum; the source is disposed of at ``due_at``."""

    due_at: float


@dataclass(frozen=True, slots=True)
class CheckFailed:
    """The object is missing or differs; it is sent again at ``due_at``.

    ``new_key`` replaces the key where another object is.
    """

    detail: str
    due_at: float
    new_key: str = ""


@dataclass(frozen=True, slots=True)
class SourceDisposed:
    """It was kept, or else deleted or archived."""

    at: float
    is_removed: bool = False


@dataclass(frozen=True, slots=True)
class SourceVanished:
    """The promised bytes are in no file any more: it vanished, or has other content by now."""

    at: float
    code: str = "SourceVanished"
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SourceChanged:
    """It is another file by now, or was replaced by ``held_by``, which has its bytes."""

    at: float
    held_by: str = ""


@dataclass(frozen=True, slots=True)
class DuplicateFound:
    """S3 has the content as ``duplicate_of``; the digest only of a source that may grow."""

    duplicate_of: str
    at: float
    raw_sha256: str = ""


@dataclass(frozen=True, slots=True)
class RestFound:
    """It is a copy that goes on: S3 has the beginning of its content, which ends with ``copy_of``.

    What is sent is the rest of its content, under a key of its own.
    """

    copy_of: str
    decoded_start: int
    decoded_end: int
    file_sha256: str
    key: ObjectKey
    compression: Compression


@dataclass(frozen=True, slots=True)
class Rejected:
    """Only an operator can mend this; ``new_key`` replaces a key that another object has."""

    code: str
    detail: str
    new_key: str = ""


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """The next attempt is at ``due_at``; ``counts`` unless the shipment is not to blame."""

    code: str
    detail: str
    due_at: float
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Retried:
    """An operator asked to send again what S3 does not have."""

    due_at: float


@dataclass(frozen=True, slots=True)
class LossAcknowledged:
    """An operator knows that the log is lost."""


@dataclass(frozen=True, slots=True)
class CheckRetried:
    """An operator asked to check again what S3 has, or configured another bucket."""

    due_at: float


@dataclass(frozen=True, slots=True)
class RemovalWanted:
    """Its file was kept, and is to go after all; S3 is asked for the object again."""

    due_at: float


Event = (
    UploadOpened
    | WriteIntended
    | UploadLost
    | ObjectStored
    | ObjectChecked
    | CheckFailed
    | SourceDisposed
    | SourceVanished
    | SourceChanged
    | DuplicateFound
    | RestFound
    | Rejected
    | AttemptFailed
    | Retried
    | LossAcknowledged
    | CheckRetried
    | RemovalWanted
)

_S = State
TABLE: dict[tuple[State, type], State] = {
    (_S.READY, UploadOpened): _S.UPLOADING,
    (_S.READY, WriteIntended): _S.READY,
    (_S.READY, ObjectStored): _S.UPLOADED,
    (_S.READY, SourceVanished): _S.GONE,
    (_S.READY, SourceChanged): _S.SUPERSEDED,
    (_S.READY, DuplicateFound): _S.DUPLICATE,
    (_S.READY, RestFound): _S.READY,
    (_S.READY, Rejected): _S.PARKED,
    (_S.READY, AttemptFailed): _S.READY,
    (_S.UPLOADING, WriteIntended): _S.UPLOADING,
    (_S.UPLOADING, ObjectStored): _S.UPLOADED,
    (_S.UPLOADING, UploadLost): _S.READY,
    (_S.UPLOADING, SourceVanished): _S.GONE,
    (_S.UPLOADING, SourceChanged): _S.SUPERSEDED,
    (_S.UPLOADING, Rejected): _S.PARKED,
    (_S.UPLOADING, AttemptFailed): _S.UPLOADING,
    (_S.UPLOADED, ObjectChecked): _S.VERIFIED,
    (_S.UPLOADED, CheckFailed): _S.READY,
    (_S.UPLOADED, AttemptFailed): _S.UPLOADED,
    (_S.UPLOADED, Rejected): _S.PARKED,
    (_S.UPLOADED, CheckRetried): _S.UPLOADED,
    (_S.VERIFIED, SourceDisposed): _S.DONE,
    (_S.VERIFIED, SourceVanished): _S.DONE,
    (_S.VERIFIED, SourceChanged): _S.DONE,
    (_S.VERIFIED, CheckFailed): _S.READY,
    (_S.VERIFIED, Rejected): _S.PARKED,
    (_S.VERIFIED, AttemptFailed): _S.VERIFIED,
    (_S.DONE, RemovalWanted): _S.UPLOADED,
    (_S.PARKED, Retried): _S.READY,
    (_S.PARKED, CheckRetried): _S.UPLOADED,
    (_S.GONE, Retried): _S.READY,
    (_S.GONE, LossAcknowledged): _S.GONE,
}

FINISHED = frozenset({_S.DONE, _S.GONE, _S.SUPERSEDED, _S.DUPLICATE})
"""States in which nothing is left to do. An operator may have a lost log looked for again, and a
kept file may have to go after all."""
LOSS_CODES = frozenset({"SourceVanished", "SourceChanged"})
"""Of a GONE shipment that nobody has acknowledged, and of one that was brought back."""
ACKNOWLEDGED_CODE = "LossAcknowledged"
"""Of a GONE shipment that an operator knows to be lost."""
UNSENT = frozenset({_S.READY, _S.UPLOADING})
"""States in which the source may still have to be sent."""
UNCHECKED = frozenset({*UNSENT, _S.UPLOADED})
"""States in which no listing has shown yet that S3 has the object."""
UNFINISHED = frozenset({*UNCHECKED, _S.VERIFIED})
"""States in which work is left that needs no operator."""
ACKNOWLEDGED = frozenset({_S.UPLOADED, _S.VERIFIED, _S.DONE})
SETTLED = frozenset({_S.VERIFIED, _S.DONE, _S.DUPLICATE})
"""States in which S3 is known to have every byte."""
UNSHIPPED = frozenset({_S.READY, _S.UPLOADING, _S.PARKED})
FORGOTTEN = frozenset({_S.GONE, _S.SUPERSEDED})
"""States whose rows do not tell what S3 holds."""
REMOVED = "SourceRemoved"
AWAY = frozenset({REMOVED, "SourceVanished"})
"""Codes of DONE shipments whose file was to be removed, and did not stand any more."""
WANTED_CODE = "RemovalWanted"
"""Of a kept shipment whose file is to go; it is kept again where an attempt at that fails."""
SENT_AGAIN_CODE = "CheckFailed"
"""Of a shipment that S3 did not list; it stays when S3 has it again."""
_GIVEN_UP = frozenset({_S.READY, _S.PARKED, *FORGOTTEN})
OBJECT = "object"
_DUPLICATE = "duplicate"
_LISTED = {
    _S.VERIFIED: OBJECT,
    _S.GONE: "gone",
    _S.SUPERSEDED: "superseded",
    _S.PARKED: "parked",
}
"""What a manifest says of a shipment in these states, once."""


class ImpossibleEvent(Exception):
    """An event that the table does not allow in this state: a bug of ours."""


_NO_UPLOAD: Mapping[str, Any] = {"upload_id": None, "part_size": 0, "abort_at": None}


def advance(shipment: Shipment, event: Event) -> Shipment:
    following = TABLE.get((shipment.state, type(event)))
    if following is None:
        raise ImpossibleEvent(f"{type(event).__name__} in state {shipment.state}")
    listed = _LISTED.get(following, shipment.listed)
    if following is _S.PARKED and shipment.state is _S.VERIFIED:
        listed = OBJECT  # only its file is not removed
    elif isinstance(event, CheckFailed) and listed == OBJECT:
        listed = ""  # another object will be there
    elif following is _S.DUPLICATE and listed:
        listed = _DUPLICATE  # and no loss any more
    return replace(shipment, state=following, listed=listed, **_learned(shipment, event))


def is_news(before: Shipment, after: Shipment) -> bool:
    """Whether a manifest is to tell of it; or, where nothing is listed, of nothing any more."""
    if after.listed != before.listed:
        return True
    is_loss = after.state in _LISTED and after.state is not before.state and after.listed != OBJECT
    return is_loss and (after.key, after.code) != (before.key, before.code)


def _learned(before: Shipment, event: Event) -> dict[str, Any]:  # noqa: C901, PLR0911, PLR0912  (one case per event)
    match event:
        case UploadOpened(upload_id, part_size, abort_at, at):
            opened = {"upload_id": upload_id, "part_size": part_size, "abort_at": abort_at}
            return {**opened, "first_sent_at": before.first_sent_at or at}
        case WriteIntended(etag, stored_bytes, raw_sha256, at):
            earlier = before.intents if before.raw_sha256 == raw_sha256 else ""
            intents = with_intent(earlier, etag, stored_bytes)
            first_sent_at = before.first_sent_at or at
            return {"raw_sha256": raw_sha256, "intents": intents, "first_sent_at": first_sent_at}
        case UploadLost(code):
            return {**_NO_UPLOAD, "code": code}
        case ObjectStored():
            code = SENT_AGAIN_CODE if before.code == SENT_AGAIN_CODE else ""
            return {**_of(event), "code": code, "detail": ""}
        case ObjectChecked(due_at) | CheckRetried(due_at):
            return {"due_at": due_at, "attempts": 0}
        case CheckFailed(detail, due_at, new_key):
            failed = _failed(before, SENT_AGAIN_CODE, detail, due_at)
            return {**_NO_UPLOAD, **failed, "etag": None, **_with_key(new_key)}
        case SourceDisposed(at, is_removed):
            return {**_over(at, REMOVED if is_removed else ""), "detail": ""}
        case SourceVanished(at, code, detail):
            return {**_over(at, code), "detail": detail}
        case SourceChanged(at, held_by):
            return {**_over(at, "SourceChanged"), "detail": held_by}
        case DuplicateFound(duplicate_of, at, raw_sha256):
            learned = {"detail": duplicate_of, "raw_sha256": raw_sha256, "copy_of": duplicate_of}
            return {**_over(at, "DuplicateFound"), **learned}
        case RestFound():
            return {**_of(event), "intents": "", "code": "", "detail": ""}
        case Rejected(code, detail, new_key):
            return {"due_at": None, "code": code, "detail": detail, **_with_key(new_key)}
        case AttemptFailed(code, detail, due_at, counts):
            return _failed(before, code, detail, due_at, counts=counts)
        case Retried(due_at):
            return {**_NO_UPLOAD, "due_at": due_at, "attempts": 0, "finished_at": None}
        case RemovalWanted(due_at):
            wanted = {"code": WANTED_CODE, "detail": "", "finished_at": None}
            return {"due_at": due_at, "attempts": 0, **wanted}
        case LossAcknowledged():
            return {"code": ACKNOWLEDGED_CODE, "detail": f"{before.code}: {before.detail}"}
        case _:
            assert_never(event)


def _of(event: ObjectStored | RestFound) -> dict[str, Any]:
    return {field.name: getattr(event, field.name) for field in fields(event)}


def _with_key(new_key: str) -> dict[str, Any]:
    """What was to be written under the old key is of no interest under a new one."""
    return {"key": ObjectKey(new_key), "intents": ""} if new_key else {}


def _over(at: float, code: str = "") -> dict[str, Any]:
    return {"due_at": None, "finished_at": at, "code": code}


def _failed(
    before: Shipment, code: str, detail: str, due_at: float, *, counts: bool = True
) -> dict[str, Any]:
    attempts = before.attempts + counts
    return {"due_at": due_at, "code": code, "detail": detail, "attempts": attempts}


def has_lapsed(shipment: Shipment, now: float) -> bool:
    """Whether a rule of the bucket may abort the upload at any moment."""
    return shipment.abort_at is not None and now >= shipment.abort_at


def abandoned_upload_of(before: Shipment, after: Shipment) -> UploadId | None:
    """The upload that the shipment leaves behind uncompleted."""
    return before.upload_id if before.state is _S.UPLOADING and after.state in _GIVEN_UP else None

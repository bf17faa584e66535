"""Manifests: what left a host, as a chain of objects that an auditor can verify.

A manifest is JSON lines: a header, then an entry for each object that was verified since the one
before, and for each log that was lost, superseded or parked. It names the SHA-256 of the manifest
before it, as it lies in the bucket. So a removed, changed or missing one breaks the chain, and a
manifest without entries says that nothing was shipped.

A chain is an epoch: it begins with a journal. ``docs/archive.md`` has the schema, which is a
contract; the names of the fields below are the names in the JSON, but for ``from_`` and ``to``.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from shipper.core.object_keys import fact
from shipper.core.types import ObjectKey

SCHEMA = 1
_MOVED = "the destination was "
MOST_ENTRIES = 10_000
"""Of one manifest; what is left goes into another one, at once."""
MOST_BYTES = 8 * 1024**2
"""Of its lines, as far as one entry is not longer. They are in memory once an interval."""
LEAST_INTERVAL_SECONDS = 60.0
AHEAD_SECONDS = 300.0
"""A clock that was set back by more begins an epoch."""
SPREAD_SECONDS = 60.0
"""After a start that is late for a manifest, it is made within this time."""
DIRECTORY = "_manifests/"
FIRST_START = "first start"
"""How the first epoch of a state directory begins."""
_NAME = re.compile(
    r"(?P<prefix>.*)_manifests/instance=(?P<instance>[^/]+)/epoch=(?P<epoch>[^/]+)"
    r"/(?P<number>\d{8,12})\.jsonl\.zst",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class ManifestName:
    """Where a manifest is. Numbers begin with 1; in a listing, they come in their order."""

    prefix: str
    instance: str
    epoch: str
    number: int

    @property
    def key(self) -> ObjectKey:
        return ObjectKey(f"{self.chain}{self.number:08}.jsonl.zst")

    @property
    def chain(self) -> str:
        """With what the keys of its chain begin."""
        return f"{self.prefix}{DIRECTORY}instance={self.instance}/epoch={self.epoch}/"


def instance_prefix(prefix: str, instance_id: str) -> str:
    """With what the keys of all manifests of the instance begin."""
    return f"{prefix}{DIRECTORY}instance={fact(instance_id)}/"


def name_from_key(key: str) -> ManifestName | None:
    """The manifest that the key names; None where it is no manifest's."""
    found = _NAME.fullmatch(key)
    if found is None:
        return None
    prefix, instance, epoch, number = found.groups()
    name = ManifestName(prefix, instance, epoch, int(number))
    return name if name.key == key else None


@dataclass(frozen=True, slots=True)
class Header:
    """The first line. Times are UTC in ISO 8601 with milliseconds and a ``Z``."""

    schema: int
    instance: str
    epoch: str
    number: int
    from_: str
    """The ``to`` of the manifest before; of the first of an epoch, when the epoch began."""
    to: str
    previous: str
    """The SHA-256 (hex) of the manifest before, as it is stored; empty in the first."""
    begins: str
    """How the epoch began, in words; only in the first."""
    before: str
    """The epoch before on this machine, or of the machine that it was copied from, if known."""
    before_number: int
    """Of the last manifest of the epoch before, as far as the journal knew; 0 for none."""
    before_sha256: str
    """Of that manifest, as ``previous``."""
    because: str
    """``interval``, ``drain``, ``stop``, ``ship`` or ``full``: another one follows at once."""
    interval_seconds: int
    """When the next one follows at the latest; 0 where none is promised."""
    destination: str
    version: str
    configuration: str
    """SHA-256 (hex) of the configuration."""
    entries: int


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """An object that S3 has, verified."""

    key: str
    size: int
    etag: str
    checksum: str
    """As S3 echoed it, with its algorithm (``crc64nvme:BASE64``); empty where there is none."""
    sha256: str
    """Of the raw bytes ``[raw_start, raw_end)``, hex."""
    compression: str
    """What shipper compressed them with: ``zstd``, ``gzip`` or ``none``."""
    watch: str
    path: str
    """The whole source path, percent-encoded as the metadata ``source-path`` is."""
    inode: int
    generation: str
    raw_start: int
    raw_end: int
    mtime_ns: int
    first_sent: str
    last_sent: str
    sealed: str
    """Why it counted as sealed."""


@dataclass(frozen=True, slots=True)
class LossEntry:
    """Bytes that were promised under this key, and are not there."""

    loss: str
    """``gone``, ``superseded`` or ``parked``; ``duplicate`` takes an earlier one back."""
    key: str
    watch: str
    path: str
    inode: int
    generation: str
    raw_start: int
    raw_end: int
    mtime_ns: int
    at: str
    code: str
    detail: str


Line = Header | ObjectEntry | LossEntry
_MEMBERS = {
    kind: [(field.name, field.name.rstrip("_"), field.type) for field in fields(kind)]
    for kind in (Header, ObjectEntry, LossEntry)
}


@dataclass(frozen=True, slots=True)
class Chain:
    """The end of a chain, as the journal knows it: what S3 has."""

    epoch: str
    begun_at: float
    begins: str
    before: str
    instance: str
    destination: str
    """As ``Header.destination``."""
    before_number: int = 0
    before_sha256: str = ""
    number: int = 0
    """Of the last manifest; 0 before the first."""
    sha256: str = ""
    until_at: float = 0.0
    """The ``to`` of the last manifest."""
    stored_at: float = 0.0
    is_lost: bool = False
    """Whether the journal was lost since, and this is an older copy's word."""
    is_off: bool = False
    """Whether manifests were switched off since."""
    gap: int = 0
    """How many entries that it was to have are in none of its manifests, and never will be."""


UNREADABLE = Chain("", 0.0, "", "", "", "", is_lost=True)
_KINDS = {field.name: field.type for field in fields(Chain)}


def chain_from(text: str) -> Chain:
    """The chain that the journal has noted as JSON. Members of a later version are left out."""
    try:
        known = json.loads(text)
        members = {name: known[name] for name in _KINDS if name in known}
        chain = Chain(**members)
    except (ValueError, TypeError):
        return UNREADABLE
    is_sound = all(type(value) in (_KINDS[name], int) for name, value in members.items())
    return chain if is_sound else UNREADABLE


@dataclass(frozen=True, slots=True)
class Beginning:
    """How an epoch would begin now, for an instance and a destination."""

    instance: str
    destination: str
    epoch: str
    now: float


def begun(before: Chain | None, beginning: Beginning, because: str) -> Chain | None:
    """The chain that begins now; None where the one ``before`` goes on.

    ``because`` says how the journal began, where that is what begins an epoch.
    """
    if before is None:
        words = because
    elif before.is_lost:
        words = "the journal was lost"
    elif before.is_off:
        words = "manifests were off"
    elif before.instance != beginning.instance:
        words = f"the instance was {before.instance}"
    elif before.destination != beginning.destination:
        words = f"{_MOVED}{before.destination}"
    else:
        return None
    return another_epoch(before, beginning, words)


def broken_off(chain: Chain, now: float) -> str:
    """Why the chain cannot go on, in words; empty where it can."""
    if chain.gap:
        return "entries were left out"
    return "the clock was ahead" if chain.until_at > now + AHEAD_SECONDS else ""


def another_epoch(before: Chain | None, beginning: Beginning, because: str) -> Chain:
    """The chain that begins now. Of one before it that has no manifest, nothing is there."""
    gap, said = 0, ("", 0, "")
    if before is not None:
        earlier = before.before, before.before_number, before.before_sha256
        said = (before.epoch, before.number, before.sha256) if before.number else earlier
        gap = before.gap
    has_moved = because.startswith(_MOVED)
    left = f"; {gap} of its entries are in no manifest" if gap or has_moved else ""
    return Chain(
        epoch=beginning.epoch,
        begun_at=beginning.now,
        begins=because + left,
        before=said[0],
        instance=beginning.instance,
        destination=beginning.destination,
        before_number=said[1],
        before_sha256=said[2],
        until_at=beginning.now,
    )


def address_of(endpoint_url: str, bucket: str, prefix: str) -> str:
    """A destination as a header has it: ``s3://BUCKET/PREFIX``, or below another server's URL."""
    return f"{endpoint_url.rstrip('/') or 's3:/'}/{bucket}/{prefix}"


def epoch_name(now: float, digits: int) -> str:
    """``YYYYMMDDTHHMMSSZ-xxxxxxxx``: when it began, and 32 random bits."""
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}-{digits:08x}"


def instant(at: float) -> str:
    """A time as manifests have it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def header_of(
    chain: Chain,
    *,
    until_at: float,
    because: str,
    interval_seconds: float,
    version: str,
    configuration: str,
    entries: int,
) -> Header:
    """The header of the chain's next manifest."""
    is_first = chain.number == 0
    return Header(
        schema=SCHEMA,
        instance=chain.instance,
        epoch=chain.epoch,
        number=chain.number + 1,
        from_=instant(chain.until_at),
        to=instant(until_at),
        previous=chain.sha256,
        begins=chain.begins if is_first else "",
        before=chain.before if is_first else "",
        before_number=chain.before_number if is_first else 0,
        before_sha256=chain.before_sha256 if is_first else "",
        because=because,
        interval_seconds=round(interval_seconds),
        destination=chain.destination,
        version=version,
        configuration=configuration,
        entries=entries,
    )


def first_wait(chain: Chain, now: float, interval_seconds: float, jitter: float) -> float:
    """Seconds from a start to the first manifest. ``jitter`` is from [0, 1).

    A chain without one has its first within an interval, at random: so the machines of a fleet
    do not write together. Later ones follow an interval after the last one, by wall time, which
    may have been set meanwhile.
    """
    if chain.number == 0:
        return interval_seconds * jitter
    due = chain.until_at + interval_seconds - now
    return min(max(due, min(SPREAD_SECONDS, interval_seconds) * jitter), interval_seconds)


class NoManifest(Exception):
    """It cannot be read as a manifest; the text says why."""


def line_from(line: Line) -> bytes:
    """One line of a manifest, with its newline."""
    members = {name.rstrip("_"): value for name, value in asdict(line).items()}
    return json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def lines_of(content: Iterable[bytes]) -> Iterator[Line]:
    """What the lines of a manifest say: its header first. Unknown members are left out.

    Raises:
        NoManifest: a line is no JSON, misses a member, or has one of another type; the header is
            not the first line, or of a schema that is too new; or there are not as many entries
            as it says.
    """
    header, count = None, 0
    for line in content:
        parsed = _parsed(line, is_header=header is None)
        if isinstance(parsed, Header):
            header = parsed
        else:
            count += 1
        yield parsed
    if header is None:
        raise NoManifest("it is empty")
    if header.entries != count:
        raise NoManifest(f"it has {count} entries and says {header.entries}")


def _parsed(line: bytes, *, is_header: bool) -> Line:
    try:
        members = json.loads(line)
    except ValueError as error:
        raise NoManifest(f"a line is not JSON: {error}") from error
    if not isinstance(members, dict):
        raise NoManifest("a line is no JSON object")
    if is_header:
        schema = members.get("schema")
        if type(schema) is int and schema > SCHEMA:
            raise NoManifest(f"its schema is {schema}; this shipper knows {SCHEMA}")
        return Header(**_values(Header, members))
    if "loss" in members:
        return LossEntry(**_values(LossEntry, members))
    return ObjectEntry(**_values(ObjectEntry, members))


def _values(kind: type[Line], members: dict[str, Any]) -> dict[str, Any]:
    values = {}
    for field, name, is_a in _MEMBERS[kind]:
        value = members.get(name)
        if type(value) is not is_a:
            raise NoManifest(f"{name} is {value!r}")
        values[field] = value
    return values

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
from typing import Any

from shipper.core.object_keys import fact
from shipper.core.types import ObjectKey

SCHEMA = 1
DIRECTORY = "_manifests/"
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
    because: str
    """``interval``, ``drain``, ``stop`` or ``full``: another one follows at once."""
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
    """``gone``, ``superseded`` or ``parked``."""
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
    for field in fields(kind):
        name = field.name.rstrip("_")
        value = members.get(name)
        if type(value) is not field.type:
            raise NoManifest(f"{name} is {value!r}")
        values[field.name] = value
    return values

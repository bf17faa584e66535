"""The object's key: readable, sortable, unique by construction.

The digest in it covers everything that tells two promises apart (inode, generation, head, tail,
range, mtime). So two logs with the same name and second never meet, and the same file gets the
same key when the journal was lost.

Bytes of a name that are not printable UTF-8 are percent-encoded, and so is ``%`` itself. A key
holds no ``..``, no leading slash and no control character.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from string import Formatter
from urllib.parse import quote

from shipper import __version__
from shipper.core.destinations import Destination
from shipper.core.rotated_names import stem_and_extension
from shipper.core.types import Compression, ObjectKey, Promise, Shipment

MAX_KEY_BYTES = 1024
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html"""

FIELDS = frozenset(
    {"prefix", "watch", "instance_id", "account_id", "region", "availability_zone", "hostname"}
    | {"directory", "stem", "mtime", "digest", "segment", "extension", "tag"}
)

TAG = re.compile(r"\{tag:([^{}]+)\}")
"""An instance tag in a bucket or a prefix."""

_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
_EXTENSIONS = {Compression.ZSTD: ".zst", Compression.GZIP: ".gz", Compression.NONE: ""}


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    prefix: str
    """As configured: tags in it are filled in where a key is made."""
    instance_id: str
    account_id: str = ""
    region: str = ""
    availability_zone: str = ""
    hostname: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


class _Tags:
    def __init__(self, tags: Mapping[str, str]) -> None:
        self._tags = tags

    def __format__(self, name: str) -> str:
        return fact(self._tags.get(name, ""))


def destined(facts: InstanceFacts, destination: Destination) -> InstanceFacts:
    """The facts as keys below this destination have them, and as its region is found."""
    region = destination.region or facts.region
    return replace(facts, prefix=filled(destination.prefix, facts.tags), region=region)


def object_key(template: str, facts: InstanceFacts, promise: Promise | Shipment) -> ObjectKey:
    """The key of a promised segment, whose own ``key`` is not read; the facts are ``destined``."""
    name = stem_and_extension(promise.path)
    key = template.format(
        prefix=filled(facts.prefix, facts.tags),
        watch=printable(promise.watch.encode()),
        instance_id=fact(facts.instance_id),
        account_id=fact(facts.account_id),
        region=fact(facts.region),
        availability_zone=fact(facts.availability_zone),
        hostname=fact(facts.hostname),
        tag=_Tags(facts.tags),
        directory=printable(promise.path.rpartition(b"/")[0]),
        stem=printable(name.stem),
        mtime=_instant(promise.mtime_ns // 1_000_000_000),
        digest=_digest(promise),
        segment=f".at{promise.raw_start}" if promise.raw_start else "",
        extension=printable(name.extension) or _EXTENSIONS[promise.compression],
    )
    return ObjectKey(tidy(key))


def filled(text: str, tags: Mapping[str, str]) -> str:
    """The text with the instance tags that are known: a value leads to no other prefix."""
    if "{tag:" not in text:
        return text
    return TAG.sub(lambda found: fact(tags[found[1]]) if found[1] in tags else found[0], text)


def _instant(seconds: int) -> datetime:
    """The nearest one between the years 1 and 9999, which is all that ``datetime`` has."""
    return datetime.fromtimestamp(min(max(seconds, _FIRST_SECOND), _LAST_SECOND), UTC)


@dataclass(frozen=True, slots=True)
class KeyBeginning:
    """A text, the field that follows it, and the text behind that field."""

    text: str
    field: str
    after: str


def key_beginning(template: str, prefix: str) -> KeyBeginning:
    """The longest text with which every key of a valid template is sure to begin.

    It does not end with a dot, which may become part of a ``..``. Where no directory follows, it
    ends before the first dot of the name, where ``another_key`` may put its number.
    """
    pieces = list(Formatter().parse(template))
    # Escaped braces come as pieces without a field.
    at = next(at for at, piece in enumerate(pieces) if piece[1] not in ("prefix", None))
    text = "".join(
        words + (prefix if field == "prefix" else "") for words, field, _, _ in pieces[:at]
    )
    after = [words for words, _, _, _ in pieces[at + 1 :]]
    text = tidy((text + pieces[at][0]).rstrip("."))
    if not any("/" in words for words in after):
        directory, slash, name = text.rpartition("/")
        text = directory + slash + name.partition(".")[0]
    return KeyBeginning(text, pieces[at][1] or "", after[0] if after else "")


def tidy(key: str) -> str:
    """The key without what would lead elsewhere."""
    return key.replace("..", "%2E%2E").lstrip("/")


def _digest(promise: Promise | Shipment) -> str:
    facts = (
        promise.file_id.inode,
        promise.file_id.head_digest,
        promise.raw_start,
        promise.raw_end,
        promise.mtime_ns,
        promise.tail_digest,
        *filter(None, [promise.file_id.generation]),
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]


def object_metadata(shipment: Shipment, directory: str, facts: InstanceFacts) -> dict[str, str]:
    """What is written onto the object about its source; ASCII, and below S3's 2 KB together.

    ``raw-sha256`` comes to it where the object is one PUT: that of a multipart upload is known
    after its metadata has to be.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
    """
    return {
        "source-path": source_path(directory, shipment.path)[-1024:],
        "source-inode": str(shipment.file_id.inode),
        "source-mtime": _decimal(shipment.mtime_ns),
        "raw-start": str(shipment.raw_start),
        "raw-end": str(shipment.raw_end),
        "instance-id": quote(fact(facts.instance_id), safe="%"),
        "shipper-version": __version__,
    }


def source_path(directory: str, path: bytes) -> str:
    """Where the file is, percent-encoded: ASCII without quotes and backslashes."""
    whole = directory.encode("utf-8", "surrogateescape") + b"/" + path
    return quote(whole, safe="/ :@+,=~")


def _decimal(nanoseconds: int) -> str:
    """Seconds with nine digits behind the point, as ``stat -c %.9Y`` prints them."""
    seconds, rest = divmod(abs(nanoseconds), 1_000_000_000)
    return f"{'-' if nanoseconds < 0 else ''}{seconds}.{rest:09}"


def another_key(key: ObjectKey) -> ObjectKey:
    """A key next to one that turned out to be another object's: ``x.zst`` gives ``x.2.zst``."""
    directory, slash, name = key.rpartition("/")
    body, dot, extension = name.rpartition(".")
    stem, _, count = (body or extension).rpartition(".")
    again = f"{stem}.{int(count) + 1}" if count.isdecimal() and len(count) < 4 and stem else ""
    again = again or f"{body or extension}.2"
    return ObjectKey(f"{directory}{slash}{again}{dot}{extension}" if body else key + ".2")


def printable(name: bytes) -> str:
    """A file name as text that is safe in keys, logs and tables; distinct names stay distinct."""
    text = name.decode("utf-8", "surrogateescape")
    is_safe = text.isprintable() and "%" not in text
    return text if is_safe else "".join(map(_escaped, text))


@lru_cache(maxsize=64)  # the same few in every key
def fact(value: str) -> str:
    """What the metadata service says, as one component of a key: it leads to no other prefix."""
    text = printable(value.encode("utf-8", "surrogatepass")).replace("/", "%2F")
    return text.replace(".", "%2E") if text in (".", "..") else text


def _escaped(character: str) -> str:
    if character.isprintable() and character != "%":
        return character
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))


def tags_in(template: str) -> frozenset[str]:
    parsed = Formatter().parse(template)
    return frozenset(spec for _, name, spec, _ in parsed if name == "tag" and spec)


def template_problems(template: str) -> list[str]:
    """What is wrong with it, in words."""
    try:
        parsed = [one for one in Formatter().parse(template) if one[1] is not None]
    except ValueError as error:
        return [f"is not a template: {error}"]
    fields = [(name, spec) for _, name, spec, _ in parsed]
    problems = [f"{{{name}!{how}}} is not possible" for _, name, _, how in parsed if how]
    problems += [f"unknown field {{{name}}}" for name, _ in fields if name not in FIELDS]
    if not any(name == "digest" for name, _ in fields):
        problems.append("must contain {digest}: without it two logs could get the same key")
    if any(name == "tag" and not spec for name, spec in fields):
        problems.append("{tag} needs a tag's name: {tag:Name}")
    problems += [
        f"{{{name}}} takes no format"
        for name, spec in fields
        if spec and name not in ("mtime", "tag")
    ]
    return problems

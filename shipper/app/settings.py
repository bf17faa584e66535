"""The configuration file as tables: one class per table, one field per key, default included.

Structuring is cattrs' work, because it reports every problem with its place and costs 4 MB where
a model library costs 20. What it would bend into shape (``"5"`` to 5) is refused by the hooks
here.
"""

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NewType, TypeVar, get_args

from cattrs import Converter
from cattrs.errors import (
    AttributeValidationNote,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)

from shipper.app.units import bytes_from_text, seconds_from_text
from shipper.core.types import DEFAULT_KEY

Duration = NewType("Duration", float)
"""Seconds; a text such as ``"30s"`` in the file."""
Size = NewType("Size", int)
"""Bytes; a text such as ``"16MiB"`` in the file."""
T = TypeVar("T")

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class DestinationTable:
    """``[destination]``"""

    bucket: str
    prefix: str = "logs/"
    key: str = DEFAULT_KEY
    region: str = ""
    endpoint_url: str = ""
    addressing_style: Literal["auto", "virtual", "path"] = "auto"
    use_fips_endpoint: bool = False
    use_dualstack_endpoint: bool = False
    expected_bucket_owner: str = ""
    storage_class: str = ""
    server_side_encryption: Literal["", "AES256", "aws:kms", "aws:kms:dsse"] = ""
    kms_key_id: str = ""
    bucket_key_enabled: bool = False
    acl: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    checksum: Literal["crc64nvme", "crc32", "sha256", "none"] = "crc64nvme"
    conditional_writes: bool = True
    sign_payloads: bool = False
    role_arn: str = ""
    external_id: str = ""


@dataclass(frozen=True, slots=True)
class WatchTable:
    """``[[watch]]``"""

    directory: str
    name: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    live: tuple[str, ...] = ("*.log",)
    recursive: bool = True
    compression: Literal["zstd", "gzip", "none"] = "zstd"
    compression_level: int = 1
    after_upload: Literal["keep", "delete", "archive"] = "keep"
    delete_after: Duration = Duration(600.0)
    archive_directory: str = ""
    settle: Duration = Duration(5.0)
    follow_hard_links: bool = False


@dataclass(frozen=True, slots=True)
class ScanTable:
    """``[scan]``"""

    interval: Duration = Duration(30.0)


@dataclass(frozen=True, slots=True)
class UploadsTable:
    """``[uploads]``"""

    concurrent_files: int = 4
    concurrent_parts: int = 4
    part_size: Size = Size(16 * MIB)
    memory_limit: Size = Size(128 * MIB)
    bandwidth_limit: str = ""
    start_splay: Duration = Duration(0.0)


@dataclass(frozen=True, slots=True)
class CredentialsTable:
    """``[credentials]``"""

    metadata_endpoint: str = ""
    metadata_endpoint_mode: Literal["ipv4", "ipv6"] = "ipv4"
    instance_profile_name: str = ""


@dataclass(frozen=True, slots=True)
class HttpTable:
    """``[http]``"""

    listen: str = ""


@dataclass(frozen=True, slots=True)
class LogTable:
    """``[log]``"""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


TABLES: dict[str, type] = {
    "destination": DestinationTable,
    "watch": WatchTable,
    "scan": ScanTable,
    "uploads": UploadsTable,
    "credentials": CredentialsTable,
    "http": HttpTable,
    "log": LogTable,
}
NOT_YET_TABLES = ("termination",)
"""Tables of the contract that a later version implements; refused, never ignored."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a configuration, and what would be right."""

    file: str
    key: str
    what: str
    right: str = ""

    def __str__(self) -> str:
        place = f"{self.file}: {self.key}: " if self.key else f"{self.file}: "
        return f"{place}{self.what}" + (f" ({self.right})" if self.right else "")


def structured(
    table: dict[str, Any], kind: type[T], place: str, report: Callable[[str, str, str], None]
) -> T | None:
    """The table as its class; None when ``report(key, what, right)`` was called."""
    try:
        return _CONVERTER.structure(table, kind)
    except ClassValidationError as error:
        for key, what, right in _problems(error, place, kind):
            report(key, what, right)
        return None


def suggestion(key: str, known: list[str]) -> str:
    """What may have been meant by an unknown key."""
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"


def _problems(
    error: BaseException, place: str, kind: type | None
) -> Iterator[tuple[str, str, str]]:
    match error:
        case ForbiddenExtraKeysError() if kind is not None:
            known = [one.name for one in fields(kind)]
            for key in sorted(error.extra_fields):
                yield f"{place}.{key}", "unknown key", suggestion(key, known)
        case ClassValidationError() | IterableValidationError():
            for inner in error.exceptions:
                yield from _problems(inner, _place_of(inner, place), kind)
        case KeyError():
            yield place, "is missing", "it is required"
        case _:
            what, _, right = str(error).partition("; ")
            yield place, what, right


def _place_of(error: BaseException, place: str) -> str:
    for note in getattr(error, "__notes__", []):
        if isinstance(note, AttributeValidationNote):
            return f"{place}.{note.name}"
        if isinstance(note, IterableValidationNote):
            return f"{place}[{note.index}]"
    return place


def _strict(kind: type, words: str) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(f"{value!r} is not {words}")
        return value

    return hook


def _literal(value: Any, kind: Any) -> Any:
    allowed = get_args(kind)
    if value not in allowed or not isinstance(value, str):
        shown = " | ".join(repr(one) for one in allowed)
        raise ValueError(f"{value!r} is not one of them; {shown}")
    return value


def _from_text(read: Callable[[str], Any], example: str) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, str):
            raise TypeError(f"{value!r} is not a text; write {example}")
        return read(value)

    return hook


def _strings(value: Any, _: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f'{value!r} is not a list of texts; write ["*.log.*"]')
    return tuple(value)


def _string_table(value: Any, _: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise ValueError(f'{value!r} is not a table of texts; write {{team = "web"}}')
    return value


def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    converter.register_structure_hook(str, _strict(str, "a text"))
    converter.register_structure_hook(int, _strict(int, "a whole number"))
    converter.register_structure_hook(bool, _strict(bool, "true or false"))
    converter.register_structure_hook(Duration, _from_text(seconds_from_text, '"30s" or "10m"'))
    converter.register_structure_hook(Size, _from_text(bytes_from_text, '"16MiB"'))
    for is_kind, hook in (
        (lambda kind: kind == tuple[str, ...], _strings),
        (lambda kind: kind == dict[str, str], _string_table),
        (lambda kind: bool(get_args(kind)) and kind == Literal[get_args(kind)], _literal),
    ):
        converter.register_structure_hook_func(is_kind, hook)
    return converter


_CONVERTER = _converter()

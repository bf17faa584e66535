"""The configuration file as tables: one class per table, one field per key, default included.

Structuring is cattrs' work, because it reports every problem with its place and costs 4 MB where
a model library costs 20. What it would bend into shape (``"5"`` to 5) is refused by the hooks
here.
"""

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, NewType, TypeVar, get_args

from cattrs import Converter
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError

from shipper.config.units import bytes_from_text, rate_from_text, seconds_from_text
from shipper.core.types import DEFAULT_KEY

Duration = NewType("Duration", float)
"""Seconds; a text such as ``"30s"`` in the file."""
Size = NewType("Size", int)
"""Bytes; a text such as ``"16MiB"`` in the file."""
Rate = NewType("Rate", float)
"""Bytes per second; a text such as ``"20MiB/s"`` in the file, an empty one for no limit."""
T = TypeVar("T")

MIB = 1024 * 1024
_IS_SECRET = re.compile(r"access_?key|secret|session_?token|password|profile$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


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
    held_files: int = 256
    held_bytes: Size = Size(1024 * MIB)
    bandwidth_limit: Rate = Rate(0.0)
    start_splay: Duration = Duration(0.0)
    direct_writes: bool = True


@dataclass(frozen=True, slots=True)
class CredentialsTable:
    """``[credentials]``"""

    metadata_endpoint: str = ""
    metadata_endpoint_mode: Literal["ipv4", "ipv6"] = "ipv4"
    instance_profile_name: str = ""


@dataclass(frozen=True, slots=True)
class TerminationTable:
    """``[termination]``"""

    spot: bool = True
    autoscaling: bool = True
    rebalance: bool = False
    ship_live_files: bool = True
    lifecycle_hook: str = ""
    autoscaling_group: str = ""
    lifecycle_timeout: Duration = Duration(300.0)


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
    "termination": TerminationTable,
    "http": HttpTable,
    "log": LogTable,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a configuration, and what would be right."""

    file: str
    key: str
    what: str
    right: str = ""

    def __str__(self) -> str:
        facts = f"{self.file}: {self.key}: " if self.key else f"{self.file}: "
        return f"{facts}{self.what}" + (f" ({self.right})" if self.right else "")


def structured(
    table: dict[str, Any], kind: type[T], facts: str, report: Callable[[str, str, str], None]
) -> T:
    """The table as its class.

    What is refused is told to ``report(key, what, right)``; its default stands in for it, or no
    text where there is none, so that the rest of the table can still be checked.
    """
    try:
        return _CONVERTER.structure(table, kind)
    except ClassValidationError as error:
        refused = set()
        for key, what, right in _problems(error, table, kind):
            report(f"{facts}.{key}", what, right)
            refused.add(key)
        good = {key: value for key, value in table.items() if key not in refused}
        return _CONVERTER.structure(dict.fromkeys(_required(kind), "") | good, kind)


def suggestion(key: str, known: list[str]) -> str:
    """What may have been meant by an unknown key."""
    if _IS_SECRET.search(key):
        return "there is no place for keys: the instance profile is the only identity"
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"


def _required(kind: Any) -> list[str]:
    return [
        one.name
        for one in fields(kind)
        if one.default is MISSING and one.default_factory is MISSING
    ]


def _problems(
    error: ClassValidationError, table: dict[str, Any], kind: Any
) -> Iterator[tuple[str, str, str]]:
    refused, others = error.group_exceptions()
    for problem, note in refused:
        if note.name in table:
            what, _, right = str(problem).rpartition("; ")
            yield note.name, what, right
        else:
            yield note.name, "is missing", "it is required"
    known = [one.name for one in fields(kind)]
    for other in others:
        assert isinstance(other, ForbiddenExtraKeysError), other
        for key in sorted(other.extra_fields):
            yield key, "unknown key", suggestion(key, known)


# A hook's message is what is wrong, then "; ", then what is right.


def _strict(kind: type, words: str) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(f"{value!r} is not {words}")
        return value

    return hook


def _text(value: Any, _: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text; write it in quotes")
    if _CONTROL.search(value):
        raise ValueError(f"{value!r} holds a control character; write it without")
    return value


def _literal(value: Any, kind: Any) -> Any:
    allowed = get_args(kind)
    if value not in allowed:
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
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(int, _strict(int, "a whole number; such as 4"))
    converter.register_structure_hook(bool, _strict(bool, "a yes or no; true | false"))
    converter.register_structure_hook(Duration, _from_text(seconds_from_text, '"30s" or "10m"'))
    converter.register_structure_hook(Rate, _from_text(rate_from_text, '"20MiB/s"'))
    converter.register_structure_hook(Size, _from_text(bytes_from_text, '"16MiB"'))
    for is_kind, hook in (
        (lambda kind: kind == tuple[str, ...], _strings),
        (lambda kind: kind == dict[str, str], _string_table),
        (lambda kind: bool(get_args(kind)) and kind == Literal[get_args(kind)], _literal),
    ):
        converter.register_structure_hook_func(is_kind, hook)
    return converter


_CONVERTER = _converter()

"""The tables of the configuration as classes, and how TOML becomes them.

A key is a field: of ``core.types.Watch`` and ``Destination``, or of the classes here. It is called
as the field is, without the unit at the end of the field's name; a field with a unit is a text
such as ``"30s"`` in the file. The field's docstring is its reference (``config.reference``).

cattrs reports every problem of a table with its place. What it would convert (``"5"`` to 5) is
refused by the hooks here.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import StrEnum
from typing import Any, Literal, TypeVar, get_args, get_origin

from cattrs import Converter
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, override

from shipper.config.units import UNITS, Unit
from shipper.config.variables import NO_PLACE
from shipper.core.destinations import LAYOUTS, Destination
from shipper.core.types import KeyTemplate, Watch, WatchName

T = TypeVar("T")

MIB = 1024 * 1024
_IS_SECRET = re.compile(r"access_?key|secret|session_?token|password|profile$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Scan:
    """``[scan]``"""

    interval_seconds: float = 30.0
    """How often every watch is scanned at least; file system events only make a scan earlier.
    While a directory gives no events (a network file system, no inotify watch left), a third of
    this, but not below 5 s."""


@dataclass(frozen=True, slots=True)
class Disk:
    """``[disk]``: what is removed early where a file system fills up."""

    high_water_ratio: float = 0.0
    """How full a watch's file system may get, such as ``"85%"``, by bytes or by inodes as ``df``
    counts them. Above it, files that S3 has confirmed go before their ``delete_after``, oldest
    first. Only ``after_upload = "delete"`` frees anything: an archive is on the same file system.
    When nothing is left that S3 has, an alarm says how much waits. When empty, nothing goes
    early."""
    low_water_ratio: float = 0.75
    """They go until it is less full than this."""
    removes_kept: bool = False
    """Whether files of ``after_upload = "keep"`` are removed, too, once no others are left. S3 is
    asked for each again. Copies of them that a rotator compressed stay."""


@dataclass(frozen=True, slots=True)
class Uploads:
    """``[uploads]``: how much is sent at a time."""

    max_in_flight: int = 64
    """How many requests are on their way to S3 at once at most, 1 to 1,024. Fewer are, until
    answers show that S3 takes so many without answering later, and when it asks to slow down.
    Small files are sent by so many at a time: 8 make a courteous daemon, 256 a fast one.
    Connections take an eighth of ``memory_limit`` at most, 160 KiB each: 102 at its default.
    With several destinations this is for each, and all connections take at most a quarter."""
    concurrent_files: int = 4
    """Of these, how many files of more than 1 MiB are read, compressed and sent at once, 1 to 64.
    A fast daemon has as many as there are cores. At the default ``memory_limit``, files of more
    than about 600 KiB count, for small ones have an eighth of it."""
    concurrent_parts: int = 4
    """How many parts of one file are on their way at once, 1 to 64."""
    part_size_bytes: int = 16 * MIB
    """The size of a part as it is sent, ``"5MiB"`` to ``"5GiB"``. It grows for files that would
    need more than 10,000 parts."""
    memory_limit_bytes: int = 128 * MIB
    """All parts in memory together, and what is compressed ahead. Where one part has no room in
    it (files of about 400 GB at the default), it is read twice and compressed twice instead:
    S3 wants a part's length before its first byte. With zstd that costs 1.7 times the CPU and up
    to twice the time. Several destinations share it equally."""
    held_files: int = 256
    """How many promised files are held while they wait, 0 to 2,000: the oldest, with a descriptor
    each. Beyond the default, raise the unit's ``FileDescriptorStoreMax=``."""
    held_bytes: int = field(default=1024 * MIB, metadata={"key": "held_bytes"})
    """How much disk held files may take that have lost their last name."""
    bandwidth_limit_bytes_per_second: float = 0.0
    """What goes out per second, such as ``"20MiB/s"``, of all bodies together. At least what
    ``memory_limit`` needs to make headway (``"437KiB/s"`` with its default). Of slow ones, fewer
    requests share it than ``max_in_flight``. When empty, there is no limit."""
    start_splay_seconds: float = 0.0
    """What a scan promises waits a random part of this, for fleets that rotate at the same
    second. It pays from about 3,500 files in a second on, of all instances together."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """``[credentials]``"""

    metadata_endpoint: str = ""
    """The metadata service. When empty, ``$AWS_EC2_METADATA_SERVICE_ENDPOINT``, else the
    link-local address."""
    metadata_endpoint_mode: Literal["ipv4", "ipv6"] = "ipv4"
    """Which link-local address. ``$AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE`` decides unless this is
    ``ipv6``."""
    instance_profile_name: str = ""
    """The role to ask for. When empty, the one that the metadata service lists."""
    source: Literal["imds", "container", "auto"] = "imds"
    """Where credentials come from. ``imds`` is the instance metadata service. ``container`` is the
    endpoint of ECS tasks and of EKS Pod Identity, which
    ``$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`` or ``$AWS_CONTAINER_CREDENTIALS_FULL_URI`` names.
    ``auto`` is ``container`` if one of these is set when shipper starts, else ``imds``. shipper
    never falls back from one to another."""


@dataclass(frozen=True, slots=True)
class InstanceTable:
    """``[instance]``: for places without an identity document. What is not given is what the
    metadata service, or ECS, says."""

    id: str = ""
    """The ``{instance_id}`` of keys, which tells this machine's logs from another's: unique, and
    the same after a restart. When it is given, nothing is asked; then a region is needed, too."""
    account_id: str = ""
    """The ``{account_id}`` of keys."""
    region: str = ""
    """The ``{region}`` of keys. The bucket's, too, unless ``destination.region`` is given."""
    availability_zone: str = ""
    """The ``{availability_zone}`` of keys."""


@dataclass(frozen=True, slots=True)
class Termination:
    """``[termination]``"""

    spot: bool = True
    """Whether a spot interruption notice begins a drain."""
    autoscaling: bool = True
    """Whether a drain begins when the target state of the Auto Scaling group is ``Terminated``."""
    rebalance: bool = False
    """Whether a rebalance recommendation begins one round: rotated files, then live ones."""
    ship_live_files: bool = True
    """Whether a drain ships live files (``watch.live``), too."""
    lifecycle_hook: str = ""
    """The terminating lifecycle hook that waits for this instance. It gets heartbeats while a
    drain goes on, and its action is completed at the end. It needs two permissions, which
    ``shipper iam policy`` then prints."""
    autoscaling_group: str = ""
    """The hook's group. When empty, the instance tag ``aws:autoscaling:groupName``, where tags in
    metadata are allowed."""
    lifecycle_timeout_seconds: float = 300.0
    """The hook's heartbeat timeout: how long a drain may take after ``Terminated``."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """``[fleet]``: what an instance tells of itself, for ``shipper fleet``."""

    heartbeat_seconds: float = 0.0
    """How often an object below the first destination's prefix says how the instance does, such
    as ``"1h"``; sooner when its state changes, but at most once a minute. ``"1m"`` to ``"7d"``.
    With ``"0s"``, none is written."""


@dataclass(frozen=True, slots=True)
class Http:
    """``[http]``"""

    listen: str = ""
    """A TCP address such as ``"127.0.0.1:9464"``, for a browser, Prometheus or an agent. The Unix
    socket ``shipper.sock`` in ``$RUNTIME_DIRECTORY`` (else the state directory) is always there.
    """


@dataclass(frozen=True, slots=True)
class Log:
    """``[log]``"""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is logged."""
    format: Literal["auto", "json", "console"] = "auto"
    """``auto`` is ``console`` on a terminal, else ``json``."""


@dataclass(frozen=True, slots=True)
class ManifestTable:
    """``[manifest]``: what left this host, as a chain that an auditor can verify."""

    interval_seconds: float = 3600.0
    """How often a manifest is written below ``_manifests/`` of each destination's prefix, also
    when nothing was shipped, at least ``"1m"``; and when a drain ends, and at a stop. ``"0s"``:
    never."""


TABLES: dict[str, type] = {
    "destination": Destination,
    "watch": Watch,
    "scan": Scan,
    "disk": Disk,
    "uploads": Uploads,
    "credentials": Credentials,
    "instance": InstanceTable,
    "termination": Termination,
    "fleet": Fleet,
    "http": Http,
    "log": Log,
    "manifest": ManifestTable,
}


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a table: the field that holds its value, and what may be written."""

    name: str
    field: str
    kind: Any
    unit: Unit | None
    default: Any
    """``MISSING`` where the key is required."""
    choices: tuple[str, ...]
    """The texts that may be written, where they are a closed set."""


def keys_of(table: type) -> tuple[Key, ...]:
    """The keys of a table, in the order of its fields."""
    found = []
    for one in fields(table):
        if _is_made(one):
            continue
        suffix = next((suffix for suffix in UNITS if one.name.endswith(suffix)), "")
        name = one.metadata.get("key") or one.name.removesuffix(suffix)
        choices: tuple[str, ...] = get_args(one.type) if get_origin(one.type) is Literal else ()
        if isinstance(one.type, type) and issubclass(one.type, StrEnum):
            choices = tuple(one.type)
        found.append(Key(name, one.name, one.type, UNITS.get(suffix), one.default, choices))
    return tuple(found)


def _is_made(one: Field[Any]) -> bool:
    """Whether a field is no key, and is made of one."""
    return one.metadata.get("key") == ""


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
) -> T:
    """The table as its class.

    What is refused goes to ``report(key, what, right)``. Its default stands in for it, or no text
    where there is none, so that the rest of the table can still be checked.
    """
    try:
        return _CONVERTER.structure(table, kind)
    except ClassValidationError as error:
        refused = set()
        for key, what, right in _problems(error, table, kind):
            report(f"{place}.{key}", what, right)
            refused.add(key)
        good = {key: value for key, value in table.items() if key not in refused}
        required = [key.name for key in keys_of(kind) if key.default is MISSING]
        return _CONVERTER.structure(dict.fromkeys(required, "") | good, kind)


def suggestion(key: str, known: list[str]) -> str:
    """What may have been meant by an unknown key."""
    if _IS_SECRET.search(key):
        return NO_PLACE
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"


def _problems(
    error: ClassValidationError, table: dict[str, Any], kind: type
) -> Iterator[tuple[str, str, str]]:
    names = {key.field: key.name for key in keys_of(kind)}
    refused, others = error.group_exceptions()
    for problem, note in refused:
        if names[note.name] in table:
            what, _, right = str(problem).rpartition("; ")
            yield names[note.name], what, right
        else:
            yield names[note.name], "is missing", "it is required; `shipper init` asks for it"
    for other in others:
        assert isinstance(other, ForbiddenExtraKeysError), other
        for key in sorted(other.extra_fields):
            yield key, "unknown key", suggestion(key, list(names.values()))


Hook = Callable[[Any, Any], Any]


def _hook(
    is_good: Callable[[Any], bool], words: str, read: Callable[[Any], Any] = lambda value: value
) -> Hook:
    """Reads what is good. The words are what is wrong with the rest, then "; ", what is right."""

    def hook(value: Any, _: Any) -> Any:
        if not is_good(value):
            raise ValueError(f"{value!r} {words}")
        return read(value)

    return hook


def _text(value: Any, _: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text; write it in quotes")
    if _CONTROL.search(value):
        raise ValueError(f"{value!r} holds a control character; write it without")
    return value


def _template(value: Any, kind: Any) -> str:
    text = _text(value, kind)
    return LAYOUTS.get(text, text)


def _are_texts(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


_HOOKS: dict[Any, Hook] = {
    str: _text,
    WatchName: _text,
    KeyTemplate: _template,
    int: _hook(lambda value: type(value) is int, "is not a whole number; such as 4"),
    bool: _hook(lambda value: type(value) is bool, "is not a yes or no; true | false"),
    tuple[str, ...]: _hook(
        lambda value: isinstance(value, list) and _are_texts(value),
        'is not a list of texts; write ["*.log.*"]',
        tuple,
    ),
    tuple[tuple[str, str], ...]: _hook(
        lambda value: isinstance(value, dict) and _are_texts(value.values()),
        'is not a table of texts; write {team = "web"}',
        lambda value: tuple(sorted(value.items())),
    ),
}


def _hook_of(key: Key) -> Hook:
    unit, choices = key.unit, key.choices
    if unit is not None:
        words, read = f"is not a text; write {unit.example}", unit.read
        is_text, has_none = (lambda value: isinstance(value, str)), key.default == 0
        return _hook(is_text, words, lambda text: 0 if has_none and not text else read(text))
    if choices:
        words = f"is not one of them; {' | '.join(repr(str(one)) for one in choices)}"
        return _hook(choices.__contains__, words, lambda value: choices[choices.index(value)])
    return _HOOKS[key.kind]


def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    for table in TABLES.values():
        overrides: dict[str, Any] = {
            key.field: override(rename=key.name, struct_hook=_hook_of(key))
            for key in keys_of(table)
        }
        overrides |= {one.name: override(omit=True) for one in fields(table) if _is_made(one)}
        converter.register_structure_hook(
            table, make_dict_structure_fn(table, converter, **overrides)
        )
    return converter


_CONVERTER = _converter()

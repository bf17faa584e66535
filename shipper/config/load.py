"""The configuration: read, checked as a whole, and refused with every problem at once."""

import itertools
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from shipper.config.schema import (
    TABLES,
    CredentialsTable,
    DestinationTable,
    HttpTable,
    LogTable,
    Problem,
    ScanTable,
    TerminationTable,
    UploadsTable,
    WatchTable,
    structured,
    suggestion,
)
from shipper.config.values import destination_from, name_of, watch_from
from shipper.core.concurrency import slowest_bandwidth
from shipper.core.object_keys import template_problems
from shipper.core.parts import FRAME_BYTES, MAX_PART_BYTES, MIN_PART_BYTES
from shipper.core.rotated_names import glob_pattern, overlap
from shipper.core.types import Destination, Watch

DEFAULT_FILE = "/etc/shipper/shipper.toml"
DEFAULT_STATE_DIRECTORY = "/var/lib/shipper"
MOST_HELD_FILES = 2_000
"""One environment variable of 128 KiB has the names of all when they are passed to a start."""
SHORTEST_LIFECYCLE_SECONDS = 30.0
LEVELS = {"zstd": (1, 19), "gzip": (1, 9)}
_BUCKET = re.compile(r"[A-Za-z0-9.\-_:]{3,255}")
"""A bucket's name or an access point's ARN; S3 itself refuses what is only nearly one."""
_REGION = re.compile(r"[a-z0-9-]*")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252})|[0-9a-f:.]*:[0-9a-f:.]*(%\w+)?")
"""As botocore will have it: no underscores."""
_PORT = re.compile(r"[0-9]{1,5}")
T = TypeVar("T")
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+", re.ASCII)


class ConfigError(Exception):
    """Everything that is wrong with a configuration."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


@dataclass(frozen=True, slots=True)
class Uploads:
    """How much is sent at a time."""

    concurrent_files: int
    concurrent_parts: int
    part_size_bytes: int
    memory_limit_bytes: int
    held_files: int
    held_bytes: int
    bandwidth_limit: float
    """Bytes per second; 0 for no limit."""
    start_splay_seconds: float
    direct_writes: bool


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration that was found good."""

    state_directory: str
    destination: Destination
    watches: tuple[Watch, ...]
    scan_interval_seconds: float
    uploads: Uploads
    credentials: CredentialsTable
    termination: TerminationTable
    http_listen: str
    log: LogTable


def load(
    path: str | None, environment: Mapping[str, str], *, default_file: str = DEFAULT_FILE
) -> Configuration:
    """Read the configuration: ``path``, else ``$SHIPPER_CONFIG``, else the default file.

    With the default file, ``conf.d/*.toml`` beside it may add watches.

    Raises:
        ConfigError: with every problem there is.
    """
    main = path or environment.get("SHIPPER_CONFIG") or default_file
    reading = _Reading(main)
    if main == default_file:
        reading.add_more(os.path.join(os.path.dirname(main), "conf.d"))
    return reading.configuration(environment)


class _Reading:
    """Tables as they are read, and problems as they are found."""

    def __init__(self, main: str) -> None:
        self._main = self._file = main
        self._problems: list[Problem] = []
        self._refused: set[str] = set()
        self._tables: dict[str, Any] = {}
        self._watches: list[WatchTable] = []
        self._may_have_watches = False
        self._state_directory = ""
        document = self._document(main, "--config FILE or $SHIPPER_CONFIG names another")
        if document is not None:
            self._read_main(document)
            self._read_watches(document)

    def add_more(self, directory: str) -> None:
        """Read the files of ``conf.d``, in the order of their names."""
        try:
            names = sorted(os.listdir(directory))
        except FileNotFoundError:
            return
        except OSError as error:
            self._file = directory
            self._report("", f"cannot be read: {error.strerror}", "")
            return
        for name in names:
            if name.endswith(".toml"):
                self._add_watches(os.path.join(directory, name))

    def _add_watches(self, path: str) -> None:
        document = self._document(path, "")
        if document is not None:
            for key in sorted(document.keys() - {"watch"}):
                self._report(key, "not here", "a file in conf.d may only have [[watch]] tables")
            self._read_watches(document)

    def _document(self, path: str, hint: str) -> dict[str, Any] | None:
        self._file = path
        self._refused = set()
        try:
            return tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            self._report("", f"cannot be read: {error.strerror}", hint)
        except (ValueError, RecursionError) as error:
            self._report("", f"is not TOML: {error}", "")
        self._may_have_watches = True
        return None

    def configuration(self, environment: Mapping[str, str]) -> Configuration:
        """The whole, or every problem."""
        if not self._may_have_watches:
            self._file = self._main
            self._report("watch", "there is none", '[[watch]] with directory = "/var/log/nginx"')
        watches = tuple(watch_from(table) for table in self._watches)
        if not self._problems:
            self._check_overlaps(watches)
        if self._problems:
            raise ConfigError(tuple(self._problems))
        uploads: UploadsTable = self._tables["uploads"]
        scan: ScanTable = self._tables["scan"]
        http: HttpTable = self._tables["http"]
        return Configuration(
            state_directory=self._state_directory
            or environment.get("STATE_DIRECTORY", "").partition(":")[0]
            or DEFAULT_STATE_DIRECTORY,
            destination=destination_from(self._tables["destination"]),
            watches=watches,
            scan_interval_seconds=scan.interval,
            uploads=Uploads(
                uploads.concurrent_files,
                uploads.concurrent_parts,
                uploads.part_size,
                uploads.memory_limit,
                uploads.held_files,
                uploads.held_bytes,
                uploads.bandwidth_limit,
                uploads.start_splay,
                uploads.direct_writes,
            ),
            credentials=self._tables["credentials"],
            termination=self._tables["termination"],
            http_listen=http.listen,
            log=self._tables["log"],
        )

    def _refuse(self, key: str, what: str, right: str) -> None:
        """Report a value that is not used; what stands in for it is not reported again."""
        if not self._is_refused(key):
            self._problems.append(Problem(self._file, key, what, right))
        self._refused.add(key)

    def _report(self, key: str, what: str, right: str, *, because: str = "") -> None:
        """Report ``key``, unless it, or the key it is judged by, has been refused."""
        if not self._is_refused(key) and not self._is_refused(because):
            self._problems.append(Problem(self._file, key, what, right))

    def _is_refused(self, key: str) -> bool:
        return any(key == one or key.startswith(f"{one}.") for one in self._refused)

    def _read_main(self, document: dict[str, Any]) -> None:
        known = ["state_directory", *TABLES]
        for key in sorted(document.keys() - set(known)):
            self._report(key, "unknown key", suggestion(key, known))
        directory = document.get("state_directory", "")
        if not isinstance(directory, str) or (directory and not _is_path(directory)):
            self._report("state_directory", f"{directory!r} is not an absolute path", "")
        else:
            self._state_directory = directory
        for name, kind in TABLES.items():
            if name != "watch":
                self._tables[name] = self._table(
                    document.get(name, {}), kind, name, f"write [{name}]"
                )
        self._check_destination()
        self._check_uploads()
        self._check_termination()
        self._check_rest()

    def _table(self, table: Any, kind: type[T], facts: str, right: str) -> T:
        if not isinstance(table, dict):
            self._refuse(facts, f"{table!r} is not a table", right)
            table = {}
        return structured(table, kind, facts, self._refuse)

    def _check_destination(self) -> None:
        table: DestinationTable = self._tables["destination"]
        if not _BUCKET.fullmatch(table.bucket):
            right = "its name alone, such as my-logs"
            self._report("destination.bucket", f"{table.bucket!r} is not a bucket's name", right)
        if table.prefix.startswith("/"):
            name = table.prefix.strip("/")
            right = f'"{name}/"' if name else '""'
            self._report("destination.prefix", "begins with a slash", right)
        for problem in template_problems(table.key):
            self._report("destination.key", problem, "")
        if table.endpoint_url and not _is_url(table.endpoint_url):
            self._report("destination.endpoint_url", "is not an http(s) URL", "")
        if not _REGION.fullmatch(table.region):
            self._report("destination.region", f"{table.region!r} is not a region", "eu-central-1")
        self._check_owners(table)

    def _check_owners(self, table: DestinationTable) -> None:
        if table.role_arn and not _ROLE_ARN.fullmatch(table.role_arn):
            right = "arn:aws:iam::123456789012:role/NAME"
            self._report("destination.role_arn", "is not the ARN of a role", right)
        if table.external_id and not table.role_arn:
            why = "destination.role_arn"
            right = "there is no role to assume"
            self._report("destination.external_id", "needs role_arn", right, because=why)
        owner = table.expected_bucket_owner
        if owner and not (owner.isascii() and owner.isdigit() and len(owner) == 12):
            self._report("destination.expected_bucket_owner", "is not an account id", "12 digits")
        if table.kms_key_id and not table.server_side_encryption.startswith("aws:kms"):
            why = "destination.server_side_encryption"
            right = 'server_side_encryption = "aws:kms"'
            self._report("destination.kms_key_id", "needs KMS encryption", right, because=why)

    def _check_uploads(self) -> None:
        table: UploadsTable = self._tables["uploads"]
        for name in ("concurrent_files", "concurrent_parts"):
            if not 1 <= getattr(table, name) <= 64:
                self._report(f"uploads.{name}", f"{getattr(table, name)}", "1 to 64")
        if not 0 <= table.held_files <= MOST_HELD_FILES:
            what, right = f"{table.held_files}", f"0 to {MOST_HELD_FILES}"
            self._report("uploads.held_files", what, right)
        if not MIN_PART_BYTES <= table.part_size <= MAX_PART_BYTES:
            self._report("uploads.part_size", f"{table.part_size} bytes", '"5MiB" to "5GiB"')
        slowest = slowest_bandwidth(
            table.concurrent_files, table.concurrent_parts, table.memory_limit
        )
        if 0 < table.bandwidth_limit < slowest:
            what = f"{table.bandwidth_limit:g} bytes per second are too few for so much at once"
            right = (
                f'at least "{-(-slowest // 1024)}KiB/s", or lower memory_limit or concurrent_files'
            )
            self._report("uploads.bandwidth_limit", what, right, because="uploads.memory_limit")
        needed = table.part_size + 2 * FRAME_BYTES
        if table.memory_limit < needed:
            what = f"{table.memory_limit} bytes"
            right = f"at least {needed} bytes for one part of this size"
            self._report("uploads.memory_limit", what, right, because="uploads.part_size")

    def _check_termination(self) -> None:
        table: TerminationTable = self._tables["termination"]
        if table.lifecycle_timeout < SHORTEST_LIFECYCLE_SECONDS:
            what = f"{table.lifecycle_timeout:g} s"
            self._report("termination.lifecycle_timeout", what, 'at least "30s", as AWS has it')
        for key, why in (
            ("lifecycle_hook", "autoscaling"),
            ("autoscaling_group", "lifecycle_hook"),
        ):
            if getattr(table, key) and not getattr(table, why):
                self._report(
                    f"termination.{key}",
                    f"needs {why}",
                    f"set termination.{why}",
                    because=f"termination.{why}",
                )

    def _check_rest(self) -> None:
        scan: ScanTable = self._tables["scan"]
        http: HttpTable = self._tables["http"]
        endpoint = self._tables["credentials"].metadata_endpoint
        if scan.interval < 0.1:
            self._report("scan.interval", f"{scan.interval:g} s", 'at least "100ms"')
        if http.listen and not _is_address(http.listen):
            self._report("http.listen", "is not HOST:PORT", '"127.0.0.1:9464"')
        if endpoint and not _is_url(endpoint):
            self._report("credentials.metadata_endpoint", "is not an http(s) URL", "")

    def _read_watches(self, document: dict[str, Any]) -> None:
        tables = document.get("watch", [])
        self._may_have_watches |= tables != []
        if not isinstance(tables, list):
            self._report("watch", "is a single value", "write [[watch]], with two brackets")
            return
        for index, raw in enumerate(tables):
            facts = f"watch[{index}]"
            table = self._table(raw, WatchTable, facts, "write [[watch]]")
            self._check_names(table, facts)
            self._check_rest_of_watch(table, facts)
            self._watches.append(table)

    def _check_names(self, table: WatchTable, facts: str) -> None:
        if not os.path.isabs(table.directory):
            right = 'such as "/var/log/nginx"'
            self._report(f"{facts}.directory", "is not an absolute path", right)
            if not table.name:
                return
        name = name_of(table)
        if not name or "/" in name or not name.isprintable():
            self._report(f"{facts}.name", f"{name!r} is not a name", "it becomes part of keys")
        elif any(name_of(watch) == name for watch in self._watches):
            self._report(f"{facts}.name", f"another watch is called {name!r}", "set name")

    def _check_overlaps(self, watches: tuple[Watch, ...]) -> None:
        self._file = self._main
        for one, other in itertools.combinations(watches, 2):
            if overlap(one, other):
                what = f"{one.name!r} and {other.name!r} would ship the same files twice"
                self._report("watch", what, "tell them apart by include or exclude")

    def _check_rest_of_watch(self, table: WatchTable, facts: str) -> None:
        lowest, highest = LEVELS.get(table.compression, (0, 22))
        if not lowest <= table.compression_level <= highest:
            key, what = f"{facts}.compression_level", f"{table.compression_level}"
            right = f"{lowest} to {highest} for {table.compression}"
            self._report(key, what, right, because=f"{facts}.compression")
        archive = table.archive_directory
        if (archive or table.after_upload == "archive") and not os.path.isabs(archive):
            right = 'after_upload = "archive" needs an absolute path'
            self._report(f"{facts}.archive_directory", f"{archive!r}", right)
        elif archive and os.path.normpath(archive) == os.path.normpath(table.directory):
            right = "a directory inside or outside of it"
            self._report(f"{facts}.archive_directory", "is the watched directory", right)
        for key in ("include", "exclude", "live"):
            for one in dict.fromkeys(getattr(table, key)):
                if not _is_glob(one):
                    right = 'such as "*.log.*", relative to the directory'
                    self._report(f"{facts}.{key}", f"{one!r} is not a glob", right)


def _is_path(text: str) -> bool:
    return os.path.isabs(text) and "\0" not in text


def _is_glob(text: str) -> bool:
    try:
        glob_pattern(text)
    except re.error:
        return False
    return bool(text) and not text.startswith("/")


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        is_host = _HOST.fullmatch(parts.hostname or "")
        is_whole = bool(is_host) and parts.port != 0 and text.split() == [text]
    except ValueError:
        return False
    return is_whole and parts.scheme in ("http", "https")


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and bool(_PORT.fullmatch(port)) and int(port) < 65536

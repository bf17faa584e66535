"""The configuration: read, checked as a whole, and refused with every problem at once."""

import codecs
import glob
import hashlib
import itertools
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from shipper.config.rules import (
    Broken,
    broken_overrides,
    broken_rules,
    broken_share,
    is_path,
    name_of,
)
from shipper.config.schema import (
    TABLES,
    Credentials,
    Disk,
    Fleet,
    Http,
    InstanceTable,
    Log,
    ManifestTable,
    Problem,
    Scan,
    Termination,
    Uploads,
    structured,
    suggestion,
)
from shipper.config.variables import replaced
from shipper.core.access_points import access_point_of
from shipper.core.destinations import SHOWN_DEFAULT, Destination, for_watch, table_of
from shipper.core.globs import split_directory
from shipper.core.roles import overlap
from shipper.core.types import Watch, WatchName

DEFAULT_FILE = "/etc/shipper/shipper.toml"
DEFAULT_STATE_DIRECTORY = "/var/lib/shipper"
T = TypeVar("T")
_NO_FILE = "`shipper init` writes one; --config FILE or $SHIPPER_CONFIG names another"
_DESTINATION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ConfigError(Exception):
    """Everything that is wrong with a configuration."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration that was found good."""

    state_directory: str
    """Where the journal is. When empty, ``$STATE_DIRECTORY``, else ``/var/lib/shipper``."""
    destination: Destination
    watches: tuple[Watch, ...]
    scan: Scan
    disk: Disk
    uploads: Uploads
    credentials: Credentials
    instance: InstanceTable
    termination: Termination
    fleet: Fleet
    http: Http
    log: Log
    manifest: ManifestTable
    destinations: Mapping[str, Destination] = field(default_factory=dict)
    """``[destinations.NAME]``, by name."""

    @property
    def digest(self) -> str:
        """The SHA-256 (hex) of all that it says: another one for another configuration."""
        return hashlib.sha256(repr(self).encode("utf-8", "backslashreplace")).hexdigest()

    def destination_of(self, watch: Watch) -> Destination:
        """Where the watch's logs go, and what their objects are written with."""
        name = watch.destination
        return for_watch(self.destinations[name] if name else self.destination, watch)

    @property
    def used_destinations(self) -> dict[str, Destination]:
        """Those that a watch names, ``[destination]`` first, as it has no name."""
        every = {"": self.destination, **self.destinations}
        used = {watch.destination for watch in self.watches}
        return {name: one for name, one in every.items() if name in used}


def load(
    path: str | None, environment: Mapping[str, str], *, default_file: str = DEFAULT_FILE
) -> Configuration:
    """Read the configuration: ``path``, else ``$SHIPPER_CONFIG``, else the default file.

    With the default file, ``conf.d/*.toml`` beside it may add watches.

    Raises:
        ConfigError: with every problem there is.
    """
    return load_with_documents(path, environment, default_file=default_file)[0]


def load_with_documents(
    path: str | None, environment: Mapping[str, str], *, default_file: str = DEFAULT_FILE
) -> tuple[Configuration, dict[str, dict[str, Any]]]:
    """As ``load``; and what each file says, before the variables in it are replaced."""
    main = path or environment.get("SHIPPER_CONFIG") or default_file
    reading = _Reading(main, environment)
    if main == default_file:
        reading.add_more(os.path.join(os.path.dirname(main), "conf.d"))
    return reading.configuration(), reading.documents


def refused_in(
    raw: Mapping[str, Any], kind: type[object], environment: Mapping[str, str]
) -> dict[str, tuple[str, str]]:
    """What a file with this table would be refused for, by key: what, and what would be right."""
    found: dict[str, tuple[str, str]] = {}

    def report(key: str, what: str, right: str) -> None:
        found.setdefault(key.removeprefix("."), (what, right))

    for key, value in raw.items():
        if isinstance(value, str) and any("\ud800" <= one <= "\udfff" for one in value):
            report(key, f"{value!r} is not UTF-8", "TOML is UTF-8")
    table = structured(replaced(dict(raw), "", environment, report), kind, "", report)
    for broken in broken_rules(table):
        if broken.because not in found:
            report(broken.key, broken.what, broken.right)
    return found


class _Reading:
    """Tables as they are read, and problems as they are found."""

    def __init__(self, main: str, environment: Mapping[str, str]) -> None:
        self._main = self._file = main
        self._environment = environment
        self.documents: dict[str, dict[str, Any]] = {}
        """By file, before the variables in them were replaced."""
        self._problems: list[Problem] = []
        self._refused: set[str] = set()
        self._tables: dict[str, Any] = {}
        self._destinations: dict[str, Destination] = {}
        self._watches: list[Watch] = []
        self._may_have_watches = False
        self._state_directory = ""
        document = self._document(main, _NO_FILE)
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
            self._report("", f"cannot be read: {error.strerror}")
            return
        for name in names:
            path = os.path.join(directory, name)
            document = self._document(path) if name.endswith(".toml") else None
            if document is not None:
                for key in sorted(document.keys() - {"watch"}):
                    self._report(
                        key, "not here", "a file in conf.d may only have [[watch]] tables"
                    )
                self._read_watches(document)

    def configuration(self) -> Configuration:
        """The whole, or every problem."""
        self._file = self._main
        destinations = len({watch.destination for watch in self._watches})
        self._tell("uploads", broken_share(self._tables.get("uploads", Uploads()), destinations))
        if not self._may_have_watches:
            self._report("watch", "no [[watch]]", 'add one with directory = "/var/log/nginx"')
        if not self._problems:
            self._require_regions()
        watches = () if self._problems else tuple(map(_completed, self._watches))
        for one, other in itertools.combinations(watches, 2):
            if overlap(_real(one), _real(other)):
                what = f"{one.name!r} and {other.name!r} would ship the same files twice"
                self._report("watch", what, "tell them apart by include or exclude")
        if self._problems:
            raise ConfigError(tuple(self._problems))
        systemds = self._environment.get("STATE_DIRECTORY", "").partition(":")[0]
        return Configuration(
            state_directory=self._state_directory or systemds or DEFAULT_STATE_DIRECTORY,
            watches=watches,
            destinations=self._destinations,
            **self._tables,
        )

    def _require_regions(self) -> None:
        """With an id that is given, nothing is asked where this is."""
        given, every = self._tables["instance"], {"": self._tables["destination"]}
        every |= self._destinations
        for name in dict.fromkeys(watch.destination for watch in self._watches):
            one = every[name]
            is_known = given.region or one.region or access_point_of(one.bucket)
            if given.id and not is_known:
                right = f"instance.id needs it, or {table_of(name)}.region, for nothing is asked"
                self._report("instance.region", "is missing", right)

    def _document(self, path: str, hint: str = "") -> dict[str, Any] | None:
        self._file = path
        self._refused = set()
        try:
            # Editors on Windows begin a file with a byte order mark.
            text = Path(path).read_bytes().removeprefix(codecs.BOM_UTF8).decode()
            document = self.documents[path] = tomllib.loads(text)
            found: dict[str, Any] = replaced(document, "", self._environment, self._refuse)
            return found
        except OSError as error:
            self._report("", f"cannot be read: {error.strerror}", hint)
        except (ValueError, RecursionError) as error:
            quotes = "a text needs quotes" if "Invalid value" in str(error) else ""
            self._report("", f"is not TOML: {error}", quotes)
        self._may_have_watches = True
        return None

    def _read_main(self, document: dict[str, Any]) -> None:
        known = ["state_directory", *TABLES, "destinations"]
        for key in sorted(document.keys() - set(known)):
            self._report(key, "unknown key", suggestion(key, known))
        directory = document.get("state_directory", "")
        if not isinstance(directory, str) or (directory and not is_path(directory)):
            self._report("state_directory", f"{directory!r} is not an absolute path")
        else:
            self._state_directory = directory
        for name, kind in TABLES.items():
            if name != "watch":
                table = document.get(name, {})
                self._tables[name] = self._table(table, kind, name, f"write [{name}]")
        self._read_destinations(document.get("destinations", {}))

    def _read_destinations(self, tables: Any) -> None:
        right = "write [destinations.NAME]"
        if not isinstance(tables, dict):
            self._refuse("destinations", f"{tables!r} is not a table", right)
            return
        for name, raw in tables.items():
            place = f"destinations.{name}"
            if not _DESTINATION_NAME.fullmatch(name) or name == SHOWN_DEFAULT:
                what = "letters, digits, - and _; not the name that [destination] is shown with"
                self._report(place, f"{name!r} cannot be the name of one", what)
            self._destinations[name] = self._table(raw, Destination, place, right)

    def _read_watches(self, document: dict[str, Any]) -> None:
        tables = document.get("watch", [])
        self._may_have_watches |= tables != []
        if not isinstance(tables, list):
            self._report("watch", "is a single value", "write [[watch]], with two brackets")
            return
        for index, raw in enumerate(tables):
            place = f"watch[{index}]"
            watch = self._table(raw, Watch, place, "write [[watch]]")
            name = name_of(watch)
            if name and any(name_of(other) == name for other in self._watches):
                self._report(f"{place}.name", f"another watch is called {name!r}", "set name")
            self._destined(watch, place)
            self._watches.append(watch)

    def _destined(self, watch: Watch, place: str) -> None:
        name = watch.destination
        if name and name not in self._destinations:
            known = [*self._destinations]
            right = suggestion(name, known) if known else "write [destinations.NAME]"
            self._report(f"{place}.destination", f"there is no [destinations.{name}]", right)
            return
        table = self._destinations[name] if name else self._tables.get("destination")
        if table is not None:
            self._tell(place, broken_overrides(table, watch))

    def _table(self, raw: Any, kind: type[T], place: str, right: str) -> T:
        if not isinstance(raw, dict):
            self._refuse(place, f"{raw!r} is not a table", right)
            raw = {}
        table = structured(raw, kind, place, self._refuse)
        self._tell(place, broken_rules(table))
        return table

    def _tell(self, place: str, rules: Iterable[Broken]) -> None:
        for key, what, instead, because in rules:
            if not self._is_refused(f"{place}.{because}"):
                self._report(f"{place}.{key}", what, instead)

    def _refuse(self, key: str, what: str, right: str) -> None:
        """Report a value that is not used; what stands in for it is not reported again."""
        self._report(key, what, right)
        self._refused.add(key)

    def _report(self, key: str, what: str, right: str = "") -> None:
        if not self._is_refused(key):
            self._problems.append(Problem(self._file, key, what, right))

    def _is_refused(self, key: str) -> bool:
        return any(key == one or key.startswith(f"{one}.") for one in self._refused)


def _real(watch: Watch) -> Watch:
    """The watch, with the directories that its paths lead to now."""
    archive = watch.archive_directory and os.path.realpath(watch.archive_directory)
    return replace(watch, directory=os.path.realpath(watch.directory), archive_directory=archive)


def _completed(watch: Watch) -> Watch:
    """The watch with its name, its pattern, and without what it archived inside its directory.

    An archive among the directories of a pattern is known to the scan.
    """
    name = WatchName(name_of(watch))
    directory, pattern = split_directory(os.path.normpath(watch.directory))
    watch = replace(watch, name=name, directory=directory, pattern=pattern)
    real = _real(watch)
    archive = real.archive_directory
    below = os.path.relpath(archive, real.directory) if archive else ".."
    is_outside = below == ".." or below.startswith("../") or bool(pattern)
    return replace(
        watch,
        exclude=watch.exclude if is_outside else (*watch.exclude, f"{glob.escape(below)}/**"),
    )

"""watchdog as a doorbell: an event ends a wait and carries no truth.

Only what gives a file a new name is listened to, because only that brings work. Opening and
modifying are not: on a busy log they cost half a core (measured). Closing is not either: a program
that opens its log for each line closes it as often, and a file that waits for its writer is looked
at again anyway. Neither is removal: there is nothing to ship in it.

What cannot be listened to is in ``unwatched`` with the reason, and is scanned more often. That is
so for network file systems, chosen by their type and never touched here, and for what inotify
refuses. Some things are looked after that watchdog leaves alone:

- ``retry``, every other second: it follows a directory by its inode, so a root that was replaced
  or mounted over is watched anew; it cannot begin where a directory is missing; it says nothing
  about a directory it may not read; a thread of it that died is not started again.
- ``survey``, each minute: it passes over a subdirectory that inotify refuses, and over one that
  was made while events overflowed. The kernel's own list of what is listened to shows both.
- A file that is made and renamed while its new directory is not listened to yet may be missed (4
  to 66 times in 1,000, measured idle and under load): after a new directory there is a second
  ring, at the next ``retry``.
- IN_Q_OVERFLOW reaches no handler. watchdog tells its log, so a warning there rings.
"""

import contextlib
import errno
import logging
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.utils import BaseThread

from shipper.core.mounts import Mount, is_watchable, mounts_seen
from shipper.edges.files.marks import directories, marks, unmarked
from shipper.edges.files.mounts import MountTable

LISTENED: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]
STOP_SECONDS = 5.0

Root = tuple[str, str, bool]
"""A watch's name, its directory, and whether it is recursive."""

_Place = tuple[str, bool]
_HINTS = {
    "ENOSPC": "raise fs.inotify.max_user_watches",
    "EMFILE": "raise fs.inotify.max_user_instances, or the limit of open files",
    "ENOENT": "create the directory, or correct the watch",
    "EACCES": "give the daemon read permission on the directory",
    "NetworkMount": "it is scanned more often; a watch of its own spares the others that",
}
_UNSCANNABLE = frozenset({"ENOENT", "ENOTDIR", "EACCES", "Replaced"})


@dataclass(frozen=True, slots=True)
class Unwatched:
    """Directories of a watch from which no events come, and why."""

    code: str
    """An errno's name, or ``NetworkMount``."""
    detail: str
    directories: int = 1

    @property
    def is_scannable(self) -> bool:
        """Whether scans find what events do not tell; ``retry`` notices when others come back."""
        return self.code not in _UNSCANNABLE

    @property
    def hint(self) -> str:
        """What an operator may do."""
        return _HINTS.get(self.code, "")


@dataclass(frozen=True, slots=True)
class _Watched:
    watch: ObservedWatch
    status: os.stat_result
    seen: tuple[Mount, ...]
    """The mounts at and below it when it was begun."""


class Watcher:
    """Rings when something may have been rotated. All methods belong to one thread.

    ``nudge`` is called from watchdog's threads, often, and must be cheap.
    """

    def __init__(
        self,
        roots: Sequence[Root],
        *,
        nudge: Callable[[], None],
        log: Any,
        table: MountTable | None = None,
    ) -> None:
        self._names: dict[_Place, list[str]] = {}
        for name, directory, recursive in roots:
            self._names.setdefault((directory, recursive), []).append(name)
        self._bell = _Bell(nudge, log)
        self._ear = _Ear(self._bell)
        self._log = log
        self._table = table or MountTable()
        self._observer: BaseObserver | None = None
        self._threads: list[threading.Thread] = []
        self._watched: dict[_Place, _Watched] = {}
        self._is_told = False
        """Whether the kernel lists what is listened to; gVisor's does not."""
        self.unwatched: dict[str, Unwatched] = {}
        """What gives no events, by the watch's name. Other threads may copy it."""

    def start(self) -> None:
        """Begin to listen. What cannot be watched is in ``unwatched``."""
        # When it adds a directory twice, which mkdir -p may make it do, it warns with the paths of
        # all that it watches.
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"watchdog\.")
        self._ear.attach()
        self._table.refresh()
        for facts in self._names:
            self._begin(facts)

    def retry(self) -> None:
        """Put right what has changed since: a root that came, went or was replaced; dead threads.

        Costs one ``stat`` per root, and one poll, when all is well.
        """
        if self._observer is not None and not self.is_alive():
            self._log.error("watcher.died", code="ThreadDied")
            self._fall_silent()
            self._bell.nudge()
        if self._table.refresh():
            self._drop_remounted()
        self._bell.nudge_again()
        for facts in self._names:
            if facts in self._watched and not self._is_current(facts):
                self._drop(facts)
            if facts not in self._watched:
                self._begin(facts)

    def survey(self) -> None:
        """Find directories that are not listened to, and try to begin with them.

        Costs one read of each watched directory.
        """
        for facts in list(self._watched):
            missing = self._missing(facts)
            if not missing:
                self._tell(facts, None)
                continue
            self._unschedule(facts)
            problem = self._listen(facts)
            if problem is None:
                problem = _partly(missing, self._missing(facts))
            self._tell(facts, problem)
            self._bell.nudge()

    def stop(self) -> None:
        """Stop listening; idempotent."""
        self._ear.detach()
        self._table.close()
        self._fall_silent()

    def is_alive(self) -> bool:
        """Whether events can arrive; False before ``start``."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    def has_unwatched(self) -> bool:
        """Whether something may be rotated without a ring."""
        return any(each.is_scannable for each in self.unwatched.values())

    def _fall_silent(self) -> None:
        observer, self._observer = self._observer, None
        threads, self._threads = self._threads, []
        self._watched.clear()
        if observer is None:
            return
        with contextlib.suppress(KeyError, OSError, RuntimeError):  # it may be half dead
            observer.stop()
        for thread in threads:
            thread.join(timeout=STOP_SECONDS)

    def _begin(self, facts: _Place) -> None:
        self._tell(facts, self._listen(facts))

    def _listen(self, facts: _Place) -> Unwatched | None:
        """Listen to a root, or say why not. A network file system is not touched for it."""
        directory, recursive = facts
        try:
            seen = self._watchable(directory, recursive=recursive)
            if isinstance(seen, Unwatched):
                return seen
            status, target = _readable(directory), os.path.realpath(directory)
            seen = self._watchable(target, recursive=recursive)
            if isinstance(seen, Unwatched):
                return seen
            watch = self._running().schedule(
                self._bell, target, recursive=recursive, event_filter=LISTENED
            )
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread could be started
            return _refusal(error)
        self._watched[facts] = _Watched(watch, status, seen)
        self._is_told = self._is_told or bool(marks())
        return None

    def _watchable(self, directory: str, *, recursive: bool) -> tuple[Mount, ...] | Unwatched:
        """The mounts at and below the directory; or one of them that events do not tell of."""
        seen = mounts_seen(directory, self._table.mounts, recursive=recursive)
        for mount in seen:
            if not is_watchable(mount.kind):
                return Unwatched("NetworkMount", f"{mount.kind} at {mount.facts}")
        return seen

    def _running(self) -> BaseObserver:
        """The observer; its construction takes an inotify instance, which may not be left."""
        if self._observer is None:
            before = set(threading.enumerate())
            observer = Observer()
            observer.start()
            self._observer = observer
            self._threads = [
                thread
                for thread in threading.enumerate()
                if isinstance(thread, BaseThread) and thread not in before
            ]
        return self._observer

    def _tell(self, facts: _Place, problem: Unwatched | None) -> None:
        """Say what has changed for a root's watches, once; ring when it is heard again."""
        is_back = False
        for name in self._names[facts]:
            before = self.unwatched.get(name)
            if problem is not None:
                self.unwatched[name] = problem
                if before is None or before.code != problem.code:
                    self._refused(name, problem)
            elif before is not None:
                del self.unwatched[name]
                self._log.info("watch.begun", watch=name)
                is_back = True
        if is_back:
            self._bell.nudge()

    def _refused(self, name: str, problem: Unwatched) -> None:
        self._log.warning(
            "watch.refused",
            watch=name,
            code=problem.code,
            detail=problem.detail,
            hint=problem.hint,
            directories=problem.directories,
        )

    def _is_current(self, facts: _Place) -> bool:
        """Whether what is watched is what the name leads to now, and events of it can arrive."""
        watched = self._watched[facts]
        try:
            is_there = os.path.samestat(os.stat(facts[0]), watched.status)
        except OSError:
            is_there = False
        emitters = self._running().emitters
        return is_there and any(
            each.watch == watched.watch and each.is_alive() for each in emitters
        )

    def _drop_remounted(self) -> None:
        """Mounting over a directory says nothing to inotify, and unmounting takes it away.

        The same file system, mounted again, even has its old device and inode numbers.
        """
        held = marks()
        for facts, watched in list(self._watched.items()):
            seen = mounts_seen(watched.watch.path, self._table.mounts, recursive=facts[1])
            is_marked = bool(seen) and (seen[0].device, watched.status.st_ino) in held
            if seen != watched.seen or (self._is_told and not is_marked):
                self._drop(facts)

    def _missing(self, facts: _Place) -> list[str]:
        """Directories of a root without a mark; none where the kernel does not tell."""
        watched = self._watched[facts]
        wanted = directories(watched.watch.path, watched.seen, recursive=facts[1])
        held = marks()  # after the look at what there is, for a directory comes before its mark
        return unmarked(wanted, held) if self._is_told else []

    def _drop(self, facts: _Place) -> None:
        self._unschedule(facts)
        for name in self._names[facts]:
            self.unwatched[name] = Unwatched("Replaced", "it was replaced")

    def _unschedule(self, facts: _Place) -> None:
        watched = self._watched.pop(facts)
        with contextlib.suppress(KeyError):  # two names of one directory share a watch
            self._running().unschedule(watched.watch)


def _partly(before: Sequence[str], after: Sequence[str]) -> Unwatched | None:
    """What is still missing after another try; what came meanwhile is about to be heard.

    inotify refuses a directory that can be read for want of watches only.
    """
    lasting = sorted({*before} & {*after})
    return Unwatched("ENOSPC", f"{lasting[0]}: no events", len(after)) if lasting else None


def _refusal(error: OSError | RuntimeError) -> Unwatched:
    if not isinstance(error, OSError):
        return Unwatched(type(error).__name__, str(error))
    code = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return Unwatched(code, error.strerror or str(error))


def _readable(directory: str) -> os.stat_result:
    """The directory's identity, or why it cannot be listened to.

    Raises:
        OSError: missing, not a directory, or no permission.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


class _Bell(FileSystemEventHandler):
    """What escapes from here would end watchdog's dispatcher, and all events with it."""

    def __init__(self, nudge: Callable[[], None], log: Any) -> None:
        self._nudge = nudge
        self._log = log
        self._has_new_directory = False

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._has_new_directory |= event.is_directory
        self.nudge()

    def nudge_again(self) -> None:
        if self._has_new_directory:
            self._has_new_directory = False
            self.nudge()

    def nudge(self) -> None:
        try:
            self._nudge()
        except Exception as error:  # noqa: BLE001 - the top of a loop that is not ours
            self._log.error("ring.failed", code=type(error).__name__, exc_info=error)


class _Ear(logging.Handler):
    """Rings at every warning of watchdog's: events may have been lost (``IN_Q_OVERFLOW``)."""

    def __init__(self, bell: _Bell) -> None:
        super().__init__(logging.WARNING)
        self._bell = bell

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - logging's signature
        self._bell.nudge()

    def attach(self) -> None:
        logging.getLogger("watchdog").addHandler(self)

    def detach(self) -> None:
        logging.getLogger("watchdog").removeHandler(self)

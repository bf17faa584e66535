"""Who owns a log directory gets at nothing else, however fast it changes under the daemon.

Each attack is a process that changes the directory as fast as it can. It lasts until both sides
have tried often enough; `make soak` lets each last for 20 s. The table of what came of them is
printed at the end.
"""

import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from shipper.core.types import AfterUpload, Entry, FileKind, RelativePath, State, Watch
from shipper.edges.files.directory_files import DirectoryFiles
from shipper.edges.files.open_file import FileSource
from shipper.ports import PortError, Source
from tests.machines.hostile import (
    INNOCENT,
    SECRET,
    Attacker,
    HostileWorld,
    attacked,
    hostile_watch,
    prepared,
    standing,
)
from tests.machines.machine import descriptors_open, public_directory, unprivileged
from tests.programs.attacker import ATTACKS, SHIPPED

FILES = DirectoryFiles()
PATHS = (
    b"app.log.1",
    b"app.log.2",
    b"sub/app.log.1",
    b"mounted/app.log.1",
    b".shipper-aside.app.log.1",
    b"sub/.shipper-aside.app.log.1",
)
HARD_LINK = "a hard link in the log's place"
LINKED_WATCH = "a link in the watch's place"
UNPERMITTED = "no permission now and then"
TAKEN = "names taken in the archive"
INNER_ARCHIVE = {"a link in the archive's place", TAKEN}
NEEDS_ROOT = {LINKED_WATCH, "a device in the log's place", "a mount below the watch"}
COLUMNS = ("attack", "against", "changes", "tries", "read", "removed", "wrongly", "refused")
MANY_INNOCENTS = 100
EDGE_ROUNDS = 100
SERVICES_ROUNDS = 12
FEW_ROUNDS = 3
"""For the attack that makes each round longer than the one before."""
ATTACKS_TRIED = 400
LONGEST_SECONDS = 90.0

QUICK = pytest.param(0.0, 2_000, id="quick")
LONG = pytest.param(20.0, 50_000, id="long", marks=[pytest.mark.slow, pytest.mark.timeout(300)])


@dataclass(slots=True)
class Row:
    """One line of the table."""

    attack: str
    against: str
    changes: int = 0
    tries: int = 0
    read: int = 0
    removed: int = 0
    wrong: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        refused = ", ".join(f"{code} {count}" for code, count in sorted(self.refused.items()))
        counts = (self.changes, self.tries, self.read, self.removed, self.wrong)
        return f"| {' | '.join([self.attack, self.against, *map(str, counts), refused])} |"


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[list[Row]]:
    """Every row that the tests add; printed once, and not by the workers of a parallel run."""
    rows: list[Row] = []
    yield rows
    if hasattr(request.config, "workerinput"):
        return
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|", *rows, sep="\n")


@pytest.fixture
def top() -> Iterator[Path]:
    with public_directory() as directory:
        yield directory


@contextmanager
def unharmed(top: Path, row: Row, crowd: int) -> Iterator[tuple[int, Attacker]]:
    """The attack goes on for the time of a ``with``, and nothing outside of the watch suffers.

    Yields the watch's directory, open: where it is now, the test's own files go.
    """
    if row.attack in NEEDS_ROOT and os.geteuid() != 0:
        pytest.skip("needs root")
    prepared(top, crowd=crowd if row.attack == "a crowded directory" else 0)
    logs = os.open(top / "logs", os.O_RDONLY | os.O_DIRECTORY)
    before, open_before = standing(top), descriptors_open()
    try:
        with attacked(row.attack, top) as attacker:
            yield logs, attacker
        row.changes = attacker.changes
        assert attacker.changes > 0, "nothing was attacked"
        assert standing(top) == before
        assert descriptors_open() <= open_before
    finally:
        os.close(logs)
    archived = [path for path in (top / "archive").rglob("*") if not path.is_dir()]
    assert not [path for path in archived if path.is_symlink() or not path.is_file()]
    assert not [path for path in archived if SECRET in path.read_bytes()]


def rounds(seconds: float, row: Row, is_enough: Callable[[], bool]) -> Iterator[None]:
    """Counted tries: until it is enough, and for so long at least."""
    started = time.monotonic()
    for number in itertools.count(1):
        lasted, enough = time.monotonic() - started, is_enough()
        if lasted > seconds and (enough or lasted > LONGEST_SECONDS):
            return
        row.tries = number
        yield


def make_file(directory: int, name: str, body: bytes) -> None:
    """A new file in the open directory."""
    descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666, dir_fd=directory)
    os.write(descriptor, body)
    os.close(descriptor)


# Against the edge.


@pytest.mark.parametrize(("seconds", "crowd"), [QUICK, LONG])
@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_the_edge_reads_and_removes_only_what_it_was_asked_to(
    attack: str, seconds: float, crowd: int, top: Path, table: list[Row]
) -> None:
    row = Row(attack, "the edge")
    table.append(row)
    archive = "logs/old" if attack in INNER_ARCHIVE else "archive"
    watch = hostile_watch(top, AfterUpload.ARCHIVE, archive=archive)
    # Who may not take a lease removes nothing but by this setting.
    watch = replace(watch, after_upload_unproven=attack == UNPERMITTED)
    with unharmed(top, row, crowd) as (logs, attacker):
        make_file(logs, "other.log.1", INNOCENT)
        os.chmod(top / "archive", 0o777)
        os.fchmod(logs, 0o777)

        def is_enough() -> bool:
            enough = FEW_ROUNDS if attack == TAKEN else EDGE_ROUNDS
            is_tried = attacker.tries() >= ATTACKS_TRIED and row.tries >= enough
            return is_tried and row.removed > 0

        with unprivileged() if attack == UNPERMITTED else nullcontext():
            for _ in rounds(seconds, row, is_enough):
                look_around(watch, row)
                for path in PATHS:
                    try_to_read(watch, RelativePath(path), row)
                    try_to_remove(watch, RelativePath(path), row)
    assert row.wrong == 0
    assert row.removed > 0


def look_around(watch: Watch, row: Row) -> None:
    """One scan: the other log is found, whatever else is."""
    found = list(FILES.scan(watch, lambda path, _: not path.startswith(b"crowd/")))
    paths = {entry.path for entry in found if isinstance(entry, Entry)}
    errors = [entry for entry in found if isinstance(entry, PortError)]
    row.refused.update(error.code for error in errors)
    is_elsewhere = row.attack == LINKED_WATCH and not paths
    assert b"other.log.1" in paths or is_elsewhere
    for entry in found:
        if isinstance(entry, Entry) and entry.stat.kind is FileKind.REGULAR:
            assert entry.stat.size_bytes != len(SECRET) or entry.stat.link_count > 1


def try_to_read(watch: Watch, path: RelativePath, row: Row) -> None:
    try:
        source = FILES.open(watch, path)
    except PortError as error:
        row.refused[error.code] += 1
        return
    row.read += 1
    # A hard link of a secret is a file like any other here; the services refuse it.
    assert SECRET not in source.read(0, 1024) or row.attack == HARD_LINK
    source.close()


def try_to_remove(watch: Watch, path: RelativePath, row: Row) -> None:
    """Remove or archive the file with the right bytes, and prove that it was this one."""
    confirmed: list[int] = []

    def is_same(source: Source) -> bool:
        assert isinstance(source, FileSource)
        if source.read(0, 1024) != SHIPPED:
            return False
        confirmed.append(os.dup(source._descriptor))
        return True

    is_archived = row.tries % 2 == 0 or row.attack in INNER_ARCHIVE
    try:
        verb = FILES.archive if is_archived else FILES.remove
        if verb(watch, path, is_same):
            row.removed += 1
            row.wrong += not has_gone(confirmed[0], watch, is_archived=is_archived)
    except PortError as error:
        row.refused[error.code] += 1
    finally:
        for descriptor in confirmed:
            os.close(descriptor)


def has_gone(file: int, watch: Watch, *, is_archived: bool) -> bool:
    """Whether the open file is the one that was taken away. Empties an archive outside."""
    status = os.fstat(file)
    if not is_archived:
        return status.st_nlink == 0
    if watch.archive_directory.startswith(watch.directory):
        return status.st_nlink == 1
    archived = [path for path in Path(watch.archive_directory).rglob("*") if path.is_file()]
    inodes = [path.lstat().st_ino for path in archived]
    for path in archived:
        path.unlink()
    return inodes == [status.st_ino]


# Against the services.


@pytest.mark.parametrize(("seconds", "crowd"), [QUICK, LONG])
@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_the_services_ship_the_other_logs_and_no_secret(
    attack: str, seconds: float, crowd: int, top: Path, table: list[Row]
) -> None:
    row = Row(attack, "the services")
    table.append(row)
    is_inner = attack in INNER_ARCHIVE
    watch = hostile_watch(
        top,
        AfterUpload.ARCHIVE if is_inner else AfterUpload.DELETE,
        archive="logs/old" if is_inner else "archive",
    )
    (top / "state").mkdir()
    world = HostileWorld(top / "state", watch=replace(watch, exclude=("crowd/*",)))
    innocents: list[bytes] = []
    with unharmed(top, row, crowd) as (logs, attacker):

        def is_enough() -> bool:
            enough = FEW_ROUNDS if attack == TAKEN else SERVICES_ROUNDS
            return attacker.tries() >= ATTACKS_TRIED and row.tries >= enough

        for _ in rounds(seconds, row, is_enough):
            if len(innocents) < MANY_INNOCENTS:
                innocents.append(INNOCENT + b"%d\n" % row.tries)
                make_file(logs, f"other.log.{row.tries}", innocents[-1])
            cycle(world)
            row.refused.update(one.problem.code for one in world.discovery.problems if one.problem)
        world.held.close()
    for _ in range(3):
        cycle(world)
    told(world, row)
    shipped = Counter(world.store.objects().values())
    assert not [body for body in shipped if SECRET[:20] in body]
    assert {body: shipped[body] for body in innocents} == dict.fromkeys(innocents, 1)
    for path in (top / "outside").iterdir():
        assert not world.journal.known(world.watch.name, path.stat().st_ino)
    assert all(is_plain(key) for key in world.store.objects())
    world.stop()


def cycle(world: HostileWorld) -> None:
    """Two looks, some work of a worker, and time."""
    world.discover()
    for _ in range(50):
        if world.carrier.step() > 0:
            break
    world.clock.advance(minutes=6)


def told(world: HostileWorld, row: Row) -> None:
    """What the journal says came of it."""
    totals = {total.state: total.files for total in world.journal.figures.totals()}
    row.read = len(world.store.objects())
    row.removed = totals.get(State.DONE, 0)
    row.refused.update({state.value: n for state, n in totals.items() if state is not State.DONE})


def is_plain(key: str) -> bool:
    return key.isprintable() and ".." not in key and not key.startswith("/")

"""A file is removed under a name that nobody else uses, and only if it is the right one."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.roles import role_of
from shipper.core.types import AfterUpload, RelativePath, Role, Watch
from shipper.edges.files import directory_files as edge
from shipper.edges.files.directory_files import DirectoryFiles, renameat2
from shipper.ports import PortError, Source
from tests.machines.hostile import HostileWorld, hostile_watch
from tests.machines.world import WATCH

LOG = RelativePath(b"app.log.1")
ASIDE = ".shipper-aside.app.log.1"
VERBS = pytest.mark.parametrize("verb", ["remove", "archive"])


@pytest.fixture
def top(tmp_path: Path) -> Path:
    for name in ("logs", "archive", "state"):
        (tmp_path / name).mkdir()
    (tmp_path / "logs" / "app.log.1").write_bytes(b"shipped")
    return tmp_path


def watch_of(top: Path) -> Watch:
    return replace(WATCH, directory=str(top / "logs"), archive_directory=str(top / "archive"))


def bodies(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


class Renames:
    """``renameat2``, with something that happens before or instead of the n-th one."""

    def __init__(self, events: dict[int, Callable[[], None]]) -> None:
        self.events = events
        self.count = 0

    def __call__(self, directory: int, name: bytes, to: int, new_name: bytes) -> None:
        self.count += 1
        self.events.get(self.count, lambda: None)()
        renameat2(directory, name, to, new_name)


def failing(number: int) -> Callable[[], None]:
    def fail() -> None:
        raise OSError(number, os.strerror(number))

    return fail


def attempt(top: Path, verb: str, rename: Callable[[int, bytes, int, bytes], None]) -> bool:
    files = DirectoryFiles(rename=rename)
    result = getattr(files, verb)(watch_of(top), LOG, is_shipped)
    assert isinstance(result, bool)
    return result


def is_shipped(source: Source) -> bool:
    return source.read(0, 99) == b"shipped"


@VERBS
def test_a_log_that_takes_the_name_at_the_last_moment_gets_it_back(top: Path, verb: str) -> None:
    """In the moment between the last question and the removal logrotate shifts every name."""
    logs = top / "logs"

    def shift() -> None:
        (logs / "app.log.1").rename(logs / "app.log.2")
        (logs / "app.log.1").write_bytes(b"not shipped")

    assert not attempt(top, verb, Renames({1: shift}))
    assert bodies(logs) == {"app.log.1": b"not shipped", "app.log.2": b"shipped"}
    assert bodies(top / "archive") == {}


@VERBS
def test_a_log_that_cannot_have_its_name_back_is_found_as_what_it_was(
    top: Path, verb: str
) -> None:
    logs = top / "logs"

    def shift() -> None:
        (logs / "app.log.1").rename(logs / "app.log.2")
        (logs / "app.log.1").write_bytes(b"not shipped")

    def rotate_again() -> None:
        (logs / "app.log.1").write_bytes(b"the next one")

    assert not attempt(top, verb, Renames({1: shift, 2: rotate_again}))
    assert bodies(logs)[ASIDE] == b"not shipped"
    assert bodies(logs)["app.log.1"] == b"the next one"
    world = HostileWorld(top / "state", watch=hostile_watch(top, AfterUpload.DELETE))
    world.run(rounds=2)
    assert sorted(world.contents()) == [b"not shipped", b"shipped", b"the next one"]
    assert {key.split("/")[-1][:8] for key in world.store.objects()} == {"app.log."}
    assert bodies(logs) == {}
    world.stop()


@VERBS
def test_a_removal_that_was_cut_short_is_finished(top: Path, verb: str) -> None:
    """Whoever died in between left the set-aside name; the journal still has the first one."""
    after = AfterUpload.DELETE if verb == "remove" else AfterUpload.ARCHIVE
    watch = replace(hostile_watch(top, after), delete_after_seconds=60.0)
    world = HostileWorld(top / "state", watch=watch)
    world.discover()
    world.carry()
    (top / "logs" / "app.log.1").rename(top / "logs" / ASIDE)
    world.clock.advance(minutes=2)
    world.restart()
    world.carry()
    assert bodies(top / "logs") == {}
    assert bodies(top / "archive") == ({} if verb == "remove" else {"app.log.1": b"shipped"})
    assert len(world.store.objects()) == 1
    world.stop()


@VERBS
def test_what_stands_under_the_set_aside_name_is_not_touched(top: Path, verb: str) -> None:
    (top / "logs" / ASIDE).write_bytes(b"theirs")
    with pytest.raises(PortError, match="Unreadable") as caught:
        attempt(top, verb, renameat2)
    assert ASIDE in caught.value.detail
    assert bodies(top / "logs") == {"app.log.1": b"shipped", ASIDE: b"theirs"}


@VERBS
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EPERM, errno.EINVAL])
def test_what_cannot_be_set_aside_is_removed_as_it_stands(
    top: Path, verb: str, number: int
) -> None:
    """A longer name may need a block, just when the disk is full and a removal would help."""
    assert attempt(top, verb, Renames({1: failing(number)}))
    assert bodies(top / "logs") == {}


@VERBS
def test_what_cannot_be_set_aside_must_lead_to_the_file(top: Path, verb: str) -> None:
    def shift() -> None:
        (top / "logs" / "app.log.1").rename(top / "logs" / "app.log.2")
        (top / "logs" / "app.log.1").write_bytes(b"not shipped")
        failing(errno.ENOSPC)()

    assert not attempt(top, verb, Renames({1: shift}))
    assert bodies(top / "logs")["app.log.1"] == b"not shipped"


def test_what_goes_while_it_is_set_aside_is_not_found(top: Path) -> None:
    with pytest.raises(PortError, match="NotFound"):
        attempt(top, "archive", Renames({2: (top / "logs" / ASIDE).unlink}))
    assert bodies(top / "archive") == {}


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "Unreadable"),
        (errno.EIO, "Unreadable"),
        (errno.EROFS, "RemoveDenied"),
        (errno.EACCES, "RemoveDenied"),
        (errno.EPERM, "RemoveDenied"),
        (errno.EXDEV, "CrossDevice"),
    ],
)
def test_an_archiving_that_fails_gives_the_name_back(top: Path, number: int, code: str) -> None:
    with pytest.raises(PortError) as caught:
        attempt(top, "archive", Renames({2: failing(number)}))
    assert caught.value.code == code
    assert bodies(top / "logs") == {"app.log.1": b"shipped"}
    assert bodies(top / "archive") == {}


def test_an_archiving_that_fails_is_tried_again_or_parked(top: Path) -> None:
    """A full disk mends itself; another file system needs an operator. Nothing is lost in both."""
    world = HostileWorld(top / "state", watch=hostile_watch(top, AfterUpload.ARCHIVE))
    world.files = DirectoryFiles(rename=Renames({2: failing(errno.ENOSPC)}))  # type: ignore[assignment]  # as in World
    world.restart()
    world.discover()
    world.carry()
    assert [row["code"] for row in world.log.of("attempt.failed")] == ["Unreadable"]
    assert bodies(top / "logs") == {"app.log.1": b"shipped"}
    world.clock.advance(minutes=6)
    world.carry()
    assert bodies(top / "archive") == {"app.log.1": b"shipped"}
    (top / "logs" / "app.log.2").write_bytes(b"another")
    world.files = DirectoryFiles(rename=Renames({2: failing(errno.EXDEV)}))  # type: ignore[assignment]  # as in World
    world.restart()
    world.discover()
    world.carry()
    assert [row["code"] for row in world.log.of("shipment.parked")] == ["CrossDevice"]
    assert bodies(top / "logs") == {"app.log.2": b"another"}
    world.stop()


def test_an_archive_full_of_namesakes_is_given_up(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "MOST_NAMESAKES", 2)
    for name in ("app.log.1", "app.log.1.1"):
        (top / "archive" / name).write_bytes(b"theirs")
    with pytest.raises(PortError, match="RemoveDenied"):
        attempt(top, "archive", renameat2)
    assert bodies(top / "logs") == {"app.log.1": b"shipped"}
    assert set(bodies(top / "archive").values()) == {b"theirs"}


@pytest.mark.parametrize("name", [b".shipper-aside...", b".shipper-aside..", b".shipper-aside."])
def test_a_name_that_only_looks_set_aside_leads_nowhere_else(top: Path, name: bytes) -> None:
    """Without the prefix these would be the directory above, the directory, and nothing."""
    (top / "logs" / os.fsdecode(name)).write_bytes(b"shipped")
    assert DirectoryFiles().archive(watch_of(top), RelativePath(name), is_shipped)
    assert bodies(top / "archive") == {os.fsdecode(name): b"shipped"}


def test_a_set_aside_log_is_the_log_that_it_was() -> None:
    watch = replace(WATCH, include=("app.*",), exclude=("sub/app.log.2",))
    aside = b".shipper-aside."
    assert role_of(watch, RelativePath(aside + b"app.log.1")) is Role.ROTATED
    assert role_of(watch, RelativePath(b"sub/" + aside + b"app.log.2")) is None
    assert role_of(watch, RelativePath(aside + b"other.log.1")) is None

"""What ``ports.Clones`` promises: of the fake, and of the real thing on XFS and btrfs.

The file systems are images that the test mounts itself, which takes root and a loop device; where
that cannot be, those are skipped with the reason, or failed where ``SHIPPER_REQUIRE_REFLINKS``
says that they must not be. "copying" is the real thing on any file system, with a copy in place
of the ioctl; it shares nothing, so it is asked about nothing that is shared.
"""

import errno
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shipper.core.types import RelativePath, Watch, WatchName
from shipper.edges.clock import SystemClock
from shipper.edges.files import clones as edge
from shipper.edges.files.clones import DirectoryClones
from shipper.edges.files.directory_files import DirectoryFiles
from shipper.ports import Clones, Files, PortError, Source
from tests.contracts.test_files import RealTree, Tree
from tests.fakes.clones import FakeClones
from tests.fakes.files import FakeFiles
from tests.fakes.reflinks import mounted

BODY = b"a line of a log\n" * 4096
OTHER_BODY = b"and of another one\n" * 4096


@dataclass
class Place:
    """Where logs and clones are, and what other programs do there."""

    clones: Clones
    files: Files
    tree: Tree
    watch: Watch
    is_sharing: bool = True

    def opened(self, path: bytes) -> Source:
        return self.files.open(self.watch, RelativePath(path))

    def clone(self, name: str, path: bytes) -> bool:
        source = self.opened(path)
        try:
            return self.clones.make(name, source, lambda clone: True)
        finally:
            source.close()

    def content(self, name: str) -> bytes:
        clone = self.clones.open(name)
        assert clone is not None
        try:
            return clone.read(0, clone.stat().size_bytes)
        finally:
            clone.close()


def copied(source: int, target: int) -> None:
    """In place of FICLONE: the same content, in blocks of its own."""
    os.copy_file_range(source, target, os.fstat(source).st_size)


def real(top: Path, clones: DirectoryClones, *, is_sharing: bool = True) -> Place:
    logs = top / "logs"
    logs.mkdir()
    watch = Watch(name=WatchName("app"), directory=str(logs))
    return Place(clones, DirectoryFiles(), RealTree(logs), watch, is_sharing)


@pytest.fixture(params=["fake", "copying", "xfs", "btrfs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "fake":
        fake = FakeFiles(SystemClock(), directory="/logs")
        watch = Watch(name=WatchName("app"), directory="/logs")
        yield Place(FakeClones(), fake, fake, watch)
    elif request.param == "copying":
        clones = DirectoryClones(str(tmp_path / "held"), clone=copied)
        yield real(tmp_path, clones, is_sharing=False)
    else:
        with mounted(request.param, tmp_path) as top:
            yield real(top, DirectoryClones(str(top / "held")))


def test_a_clone_is_the_file_as_it_was(place: Place) -> None:
    place.tree.write(b"app.log.1", BODY)
    assert place.clone("1-a", b"app.log.1")
    place.tree.write(b"app.log.1", OTHER_BODY)
    assert place.content("1-a") == BODY
    place.tree.delete(b"app.log.1")
    assert place.content("1-a") == BODY
    assert place.clones.names() == ["1-a"]


def test_a_clone_has_the_mtime_of_its_original(place: Place) -> None:
    place.tree.write(b"app.log.1", BODY)
    if isinstance(place.tree, RealTree):
        os.utime(place.tree.top / "app.log.1", ns=(1, 1_700_000_000_123_456_789))
    source = place.opened(b"app.log.1")
    assert place.clones.make("1-a", source, lambda clone: True)
    clone = place.clones.open("1-a")
    assert clone is not None
    assert clone.stat().mtime_ns == source.stat().mtime_ns
    assert clone.stat().inode != source.stat().inode
    assert clone.stat().link_count == 1 or isinstance(place.clones, FakeClones)
    clone.close()
    source.close()


def test_a_clone_is_compared_before_it_has_a_name(place: Place) -> None:
    place.tree.write(b"app.log.1", BODY)
    seen: list[bytes] = []

    def is_same(clone: Source) -> bool:
        seen.append(clone.read(0, len(BODY)))
        assert place.clones.names() == []
        return False

    source = place.opened(b"app.log.1")
    assert not place.clones.make("1-a", source, is_same)
    source.close()
    assert seen == [BODY]
    assert place.clones.names() == []
    assert place.clones.open("1-a") is None


def test_a_clone_takes_the_place_of_one_of_its_name(place: Place) -> None:
    place.tree.write(b"app.log.1", BODY)
    place.clone("1-a", b"app.log.1")
    place.tree.write(b"app.log.2", OTHER_BODY)
    place.clone("1-a", b"app.log.2")
    assert place.content("1-a") == OTHER_BODY
    assert place.clones.names() == ["1-a"]


def test_removing_is_idempotent_and_closes_nothing(place: Place) -> None:
    place.tree.write(b"app.log.1", BODY)
    place.clone("1-a", b"app.log.1")
    clone = place.clones.open("1-a")
    assert clone is not None
    for _ in range(2):
        place.clones.remove("1-a")
    assert clone.read(0, 16) == BODY[:16]
    clone.close()
    assert place.clones.names() == []
    assert place.clones.own_bytes("1-a") == 0


def test_before_the_first_clone_there_are_none(place: Place) -> None:
    assert place.clones.names() == []
    assert place.clones.open("1-a") is None
    assert place.clones.own_bytes("1-a") == 0
    assert place.clones.free_bytes() > 0


def test_a_clone_costs_nothing_until_its_original_is_gone(place: Place, tmp_path: Path) -> None:
    if not place.is_sharing:
        pytest.skip("a copy shares nothing")
    place.tree.write(b"app.log.1", BODY)
    place.clone("1-a", b"app.log.1")
    assert place.clones.own_bytes("1-a") == 0
    source = place.opened(b"app.log.1")
    place.tree.delete(b"app.log.1")
    assert place.clones.own_bytes("1-a") == 0, "somebody has the original open still"
    source.close()
    deadline = time.monotonic() + 20
    while not place.clones.own_bytes("1-a") and time.monotonic() < deadline:
        # Blocks are freed behind the unlink, by a transaction or a kernel thread.
        subprocess.run(["sync", "--file-system", str(tmp_path)], check=True)
    assert place.clones.own_bytes("1-a") == len(BODY)


def test_a_failure_in_the_comparison_makes_no_clone(place: Place) -> None:
    place.tree.write(b"app.log.1", BODY)

    def fail(_: Source) -> bool:
        raise PortError("Unreadable", "EIO")

    source = place.opened(b"app.log.1")
    with pytest.raises(PortError, match="Unreadable"):
        place.clones.make("1-a", source, fail)
    source.close()
    assert place.clones.names() == []


# Only the real thing.


@pytest.fixture
def copying(tmp_path: Path) -> Place:
    return real(tmp_path, DirectoryClones(str(tmp_path / "held"), clone=copied))


def test_clones_belong_to_shipper_alone(copying: Place, tmp_path: Path) -> None:
    copying.tree.write(b"app.log.1", BODY)
    (tmp_path / "logs" / "app.log.1").chmod(0o644)
    copying.clone("1-a", b"app.log.1")
    assert (tmp_path / "held").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "held" / "1-a").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "logs" / "app.log.1").stat().st_nlink == 1, "never a hard link"


@pytest.mark.parametrize(
    "number", [errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY, errno.ENOSYS]
)
def test_a_file_system_without_reflinks_says_so(tmp_path: Path, number: int) -> None:
    place = real(tmp_path, DirectoryClones(str(tmp_path / "held"), clone=failing(number)))
    place.tree.write(b"app.log.1", BODY)
    with pytest.raises(PortError, match=os.strerror(number)) as caught:
        place.clone("1-a", b"app.log.1")
    assert caught.value.code == "CloneUnsupported"
    assert "state_directory" in caught.value.hint
    assert place.clones.names() == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EPERM])
def test_every_other_failure_is_one_of_this_clone(tmp_path: Path, number: int) -> None:
    place = real(tmp_path, DirectoryClones(str(tmp_path / "held"), clone=failing(number)))
    place.tree.write(b"app.log.1", BODY)
    with pytest.raises(PortError, match="CloneFailed"):
        place.clone("1-a", b"app.log.1")


def failing(number: int) -> Callable[[int, int], None]:
    def clone(source: int, target: int) -> None:
        raise OSError(number, os.strerror(number))

    return clone


def test_this_file_system_answers_one_way_or_the_other(tmp_path: Path) -> None:
    """The real ioctl, wherever the tests run."""
    place = real(tmp_path, DirectoryClones(str(tmp_path / "held")))
    place.tree.write(b"app.log.1", BODY)
    try:
        place.clone("1-a", b"app.log.1")
    except PortError as error:
        assert error.code == "CloneUnsupported"  # noqa: PT017  (or it may have worked)
    else:
        assert place.content("1-a") == BODY


def test_a_log_on_another_file_system_cannot_be_cloned(tmp_path: Path) -> None:
    with mounted("xfs", tmp_path) as top:
        place = real(tmp_path, DirectoryClones(str(top / "held")))
        place.tree.write(b"app.log.1", BODY)
        with pytest.raises(PortError) as caught:
            place.clone("1-a", b"app.log.1")
        assert caught.value.code == "CloneUnsupported"


def test_a_log_under_another_mount_of_the_same_file_system_can(tmp_path: Path) -> None:
    """As the unit has it: ``ProtectSystem=strict`` shows the logs through a read-only mount."""
    with mounted("xfs", tmp_path) as top:
        place = real(top, DirectoryClones(str(top / "held")))
        place.tree.write(b"app.log.1", BODY)
        below = tmp_path / "read-only"
        below.mkdir()
        for options in (["--bind"], ["-o", "remount,bind,ro"]):
            subprocess.run(["mount", *options, str(top / "logs"), str(below)], check=True)
        try:
            place.watch = Watch(name=WatchName("app"), directory=str(below))
            assert place.clone("1-a", b"app.log.1")
        finally:
            subprocess.run(["umount", str(below)], check=True)
        assert place.content("1-a") == BODY


def test_what_the_system_refuses_has_a_code(tmp_path: Path) -> None:
    (tmp_path / "held").write_bytes(b"in the way")
    clones = DirectoryClones(str(tmp_path / "held"))
    for code, use in (
        ("StateUnwritable", clones.names),
        ("StateUnwritable", lambda: clones.remove("1-a")),
        ("Unreadable", lambda: clones.open("1-a")),
        ("Unreadable", lambda: clones.own_bytes("1-a")),
        ("Unreadable", DirectoryClones(str(tmp_path / "none" / "held")).free_bytes),
    ):
        with pytest.raises(PortError) as caught:
            use()
        assert caught.value.code == code


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EIO])
def test_extents_that_cannot_be_asked_for_count_as_its_own(
    copying: Place, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    copying.tree.write(b"app.log.1", BODY)
    copying.clone("1-a", b"app.log.1")

    def fail(*_: object) -> list[tuple[int, int, int]]:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(edge, "_extents", fail)
    if number == errno.EIO:
        with pytest.raises(PortError, match="Unreadable"):
            copying.clones.own_bytes("1-a")
    else:
        assert copying.clones.own_bytes("1-a") >= len(BODY)


def test_more_extents_than_one_answer_holds_are_all_counted(
    copying: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    copying.tree.write(b"app.log.1", BODY)
    copying.clone("1-a", b"app.log.1")
    answers = {0: [(0, 10, 0), (10, 10, 0x2000)], 20: [(20, 5, 0)], 25: []}
    monkeypatch.setattr(edge, "_extents", lambda descriptor, at: answers[at])
    assert copying.clones.own_bytes("1-a") == 15


def test_a_sparse_file_takes_its_blocks_and_not_its_length(tmp_path: Path) -> None:
    place = real(tmp_path, DirectoryClones(str(tmp_path / "held")))
    place.tree.write(b"app.log.1", BODY)
    os.truncate(tmp_path / "logs" / "app.log.1", 10**9)
    source = place.opened(b"app.log.1")
    assert source.unlinked_bytes() == 0
    place.tree.delete(b"app.log.1")
    assert len(BODY) <= source.unlinked_bytes() < 10 * len(BODY)
    source.close()

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
from tests.machines.reflinks import mounted

BODY = b"a line of a log\n" * 4096
OTHER_BODY = b"and of another one\n" * 4096


@dataclass
class InstanceFacts:
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


def real(top: Path, clones: DirectoryClones, *, is_sharing: bool = True) -> InstanceFacts:
    logs = top / "logs"
    logs.mkdir()
    watch = Watch(name=WatchName("app"), directory=str(logs))
    return InstanceFacts(clones, DirectoryFiles(), RealTree(logs), watch, is_sharing)


@pytest.fixture(params=["fake", "copying", "xfs", "btrfs"])
def facts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[InstanceFacts]:
    if request.param == "fake":
        fake = FakeFiles(SystemClock(), directory="/logs")
        watch = Watch(name=WatchName("app"), directory="/logs")
        yield InstanceFacts(FakeClones(), fake, fake, watch)
    elif request.param == "copying":
        clones = DirectoryClones(str(tmp_path / "held"), clone=copied)
        yield real(tmp_path, clones, is_sharing=False)
    else:
        with mounted(request.param, tmp_path) as top:
            yield real(top, DirectoryClones(str(top / "held")))


def test_a_clone_is_the_file_as_it_was(facts: InstanceFacts) -> None:
    facts.tree.write(b"app.log.1", BODY)
    assert facts.clone("1-a", b"app.log.1")
    facts.tree.write(b"app.log.1", OTHER_BODY)
    assert facts.content("1-a") == BODY
    facts.tree.delete(b"app.log.1")
    assert facts.content("1-a") == BODY
    assert facts.clones.names() == ["1-a"]


def test_a_clone_has_the_mtime_of_its_original(facts: InstanceFacts) -> None:
    facts.tree.write(b"app.log.1", BODY)
    if isinstance(facts.tree, RealTree):
        os.utime(facts.tree.top / "app.log.1", ns=(1, 1_700_000_000_123_456_789))
    source = facts.opened(b"app.log.1")
    assert facts.clones.make("1-a", source, lambda clone: True)
    clone = facts.clones.open("1-a")
    assert clone is not None
    assert clone.stat().mtime_ns == source.stat().mtime_ns
    assert clone.stat().inode != source.stat().inode
    assert clone.stat().link_count == 1 or isinstance(facts.clones, FakeClones)
    clone.close()
    source.close()


def test_a_clone_is_compared_before_it_has_a_name(facts: InstanceFacts) -> None:
    facts.tree.write(b"app.log.1", BODY)
    seen: list[bytes] = []

    def is_same(clone: Source) -> bool:
        seen.append(clone.read(0, len(BODY)))
        assert facts.clones.names() == []
        return False

    source = facts.opened(b"app.log.1")
    assert not facts.clones.make("1-a", source, is_same)
    source.close()
    assert seen == [BODY]
    assert facts.clones.names() == []
    assert facts.clones.open("1-a") is None


def test_a_clone_takes_the_place_of_one_of_its_name(facts: InstanceFacts) -> None:
    facts.tree.write(b"app.log.1", BODY)
    facts.clone("1-a", b"app.log.1")
    facts.tree.write(b"app.log.2", OTHER_BODY)
    facts.clone("1-a", b"app.log.2")
    assert facts.content("1-a") == OTHER_BODY
    assert facts.clones.names() == ["1-a"]


def test_removing_is_idempotent_and_closes_nothing(facts: InstanceFacts) -> None:
    facts.tree.write(b"app.log.1", BODY)
    facts.clone("1-a", b"app.log.1")
    clone = facts.clones.open("1-a")
    assert clone is not None
    for _ in range(2):
        facts.clones.remove("1-a")
    assert clone.read(0, 16) == BODY[:16]
    clone.close()
    assert facts.clones.names() == []
    assert facts.clones.own_bytes("1-a") == 0


def test_before_the_first_clone_there_are_none(facts: InstanceFacts) -> None:
    assert facts.clones.names() == []
    assert facts.clones.open("1-a") is None
    assert facts.clones.own_bytes("1-a") == 0
    assert facts.clones.free_bytes() > 0


def test_a_clone_costs_nothing_until_its_original_is_gone(
    facts: InstanceFacts, tmp_path: Path
) -> None:
    if not facts.is_sharing:
        pytest.skip("a copy shares nothing")
    facts.tree.write(b"app.log.1", BODY)
    facts.clone("1-a", b"app.log.1")
    assert facts.clones.own_bytes("1-a") == 0
    source = facts.opened(b"app.log.1")
    facts.tree.delete(b"app.log.1")
    assert facts.clones.own_bytes("1-a") == 0, "somebody has the original open still"
    source.close()
    deadline = time.monotonic() + 20
    while not facts.clones.own_bytes("1-a") and time.monotonic() < deadline:
        # Blocks are freed behind the unlink, by a transaction or a kernel thread.
        subprocess.run(["sync", "--file-system", str(tmp_path)], check=True)
    assert facts.clones.own_bytes("1-a") == len(BODY)


def test_a_failure_in_the_comparison_makes_no_clone(facts: InstanceFacts) -> None:
    facts.tree.write(b"app.log.1", BODY)

    def fail(_: Source) -> bool:
        raise PortError("Unreadable", "EIO")

    source = facts.opened(b"app.log.1")
    with pytest.raises(PortError, match="Unreadable"):
        facts.clones.make("1-a", source, fail)
    source.close()
    assert facts.clones.names() == []


# Only the real thing.


@pytest.fixture
def copying(tmp_path: Path) -> InstanceFacts:
    return real(tmp_path, DirectoryClones(str(tmp_path / "held"), clone=copied))


def test_clones_belong_to_shipper_alone(copying: InstanceFacts, tmp_path: Path) -> None:
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
    facts = real(tmp_path, DirectoryClones(str(tmp_path / "held"), clone=failing(number)))
    facts.tree.write(b"app.log.1", BODY)
    with pytest.raises(PortError, match=os.strerror(number)) as caught:
        facts.clone("1-a", b"app.log.1")
    assert caught.value.code == "CloneUnsupported"
    assert "state_directory" in caught.value.hint
    assert facts.clones.names() == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EPERM])
def test_every_other_failure_is_one_of_this_clone(tmp_path: Path, number: int) -> None:
    facts = real(tmp_path, DirectoryClones(str(tmp_path / "held"), clone=failing(number)))
    facts.tree.write(b"app.log.1", BODY)
    with pytest.raises(PortError, match="CloneFailed"):
        facts.clone("1-a", b"app.log.1")


def failing(number: int) -> Callable[[int, int], None]:
    def clone(source: int, target: int) -> None:
        raise OSError(number, os.strerror(number))

    return clone


def test_this_file_system_answers_one_way_or_the_other(tmp_path: Path) -> None:
    """The real ioctl, wherever the tests run."""
    facts = real(tmp_path, DirectoryClones(str(tmp_path / "held")))
    facts.tree.write(b"app.log.1", BODY)
    try:
        facts.clone("1-a", b"app.log.1")
    except PortError as error:
        assert error.code == "CloneUnsupported"  # noqa: PT017  (or it may have worked)
    else:
        assert facts.content("1-a") == BODY


def test_a_log_on_another_file_system_cannot_be_cloned(tmp_path: Path) -> None:
    with mounted("xfs", tmp_path) as top:
        facts = real(tmp_path, DirectoryClones(str(top / "held")))
        facts.tree.write(b"app.log.1", BODY)
        with pytest.raises(PortError) as caught:
            facts.clone("1-a", b"app.log.1")
        assert caught.value.code == "CloneUnsupported"


def test_a_log_under_another_mount_of_the_same_file_system_can(tmp_path: Path) -> None:
    """As the unit has it: ``ProtectSystem=strict`` shows the logs through a read-only mount."""
    with mounted("xfs", tmp_path) as top:
        facts = real(top, DirectoryClones(str(top / "held")))
        facts.tree.write(b"app.log.1", BODY)
        below = tmp_path / "read-only"
        below.mkdir()
        for options in (["--bind"], ["-o", "remount,bind,ro"]):
            subprocess.run(["mount", *options, str(top / "logs"), str(below)], check=True)
        try:
            facts.watch = Watch(name=WatchName("app"), directory=str(below))
            assert facts.clone("1-a", b"app.log.1")
        finally:
            subprocess.run(["umount", str(below)], check=True)
        assert facts.content("1-a") == BODY


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
    copying: InstanceFacts, monkeypatch: pytest.MonkeyPatch, number: int
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
    copying: InstanceFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    copying.tree.write(b"app.log.1", BODY)
    copying.clone("1-a", b"app.log.1")
    answers = {0: [(0, 10, 0), (10, 10, 0x2000)], 20: [(20, 5, 0)], 25: []}
    monkeypatch.setattr(edge, "_extents", lambda descriptor, at: answers[at])
    assert copying.clones.own_bytes("1-a") == 15


def test_a_sparse_file_takes_its_blocks_and_not_its_length(tmp_path: Path) -> None:
    facts = real(tmp_path, DirectoryClones(str(tmp_path / "held")))
    facts.tree.write(b"app.log.1", BODY)
    os.truncate(tmp_path / "logs" / "app.log.1", 10**9)
    source = facts.opened(b"app.log.1")
    assert source.unlinked_bytes() == 0
    facts.tree.delete(b"app.log.1")
    assert len(BODY) <= source.unlinked_bytes() < 10 * len(BODY)
    source.close()

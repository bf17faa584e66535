"""What only a real file system can do to ``DirectoryFiles``."""

import errno
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.scan_cache import ScanCache
from shipper.core.siblings import Siblings
from shipper.core.types import Entry, FileKind, RelativePath, Watch, WatchName
from shipper.edges.files.directory_files import DirectoryFiles, renameat2
from shipper.edges.files.open_file import FileSource, stat_from_status
from shipper.edges.files.scan import DEEPEST
from shipper.ports import PortError
from tests.machines.machine import (
    descriptors_left,
    descriptors_open,
    public_directory,
    unprivileged,
)

FILES = DirectoryFiles()


@pytest.fixture
def logs() -> Iterator[Path]:
    with public_directory() as top:
        (top / "logs").mkdir()
        yield top / "logs"


def watch_of(directory: Path, archive: Path | str = "") -> Watch:
    return Watch(name=WatchName("app"), directory=str(directory), archive_directory=str(archive))


def scanned(watch: Watch) -> tuple[dict[bytes, Entry], list[PortError]]:
    found = list(FILES.scan(watch, lambda path, _: True))
    entries = [entry for entry in found if isinstance(entry, Entry)]
    errors = [entry for entry in found if isinstance(entry, PortError)]
    return {entry.path: entry for entry in entries}, errors


def opened(directory: Path, name: str) -> FileSource:
    source = FILES.open(watch_of(directory), RelativePath(os.fsencode(name)))
    assert isinstance(source, FileSource)
    return source


def refusal(directory: Path, name: str) -> PortError:
    with pytest.raises(PortError) as caught:
        opened(directory, name)
    return caught.value


def removal_refusal(watch: Watch, name: str, verb: str = "remove") -> PortError:
    with pytest.raises(PortError) as caught:
        getattr(FILES, verb)(watch, RelativePath(os.fsencode(name)), lambda source: True)
    return caught.value


# Links, devices and other traps.


def test_a_symbolic_link_is_listed_and_never_opened(logs: Path) -> None:
    (logs / "app.log.1").symlink_to("/etc/passwd")
    entries, _ = scanned(watch_of(logs))
    assert entries[b"app.log.1"].stat.kind is FileKind.SYMLINK
    assert refusal(logs, "app.log.1").code == "NotRegular"
    assert removal_refusal(watch_of(logs), "app.log.1").code == "NotRegular"
    assert (logs / "app.log.1").is_symlink()


def test_a_link_is_told_by_what_it_leads_to(logs: Path) -> None:
    (logs.parent / "far").mkdir()
    (logs.parent / "far" / "data").touch()
    (logs / "sub").mkdir()
    (logs / "sub" / "app.log").touch()
    (logs / "app.log").touch()
    (logs / "data").touch()
    targets = {
        "same.log": ("app.log", FileKind.ALIAS),
        "below.log": ("sub/app.log", FileKind.ALIAS),
        "again.log": ("same.log", FileKind.ALIAS),
        "nowhere.log": ("nowhere", FileKind.ALIAS),
        "itself.log": ("itself.log", FileKind.ALIAS),
        "device.log": ("/dev/null", FileKind.ALIAS),
        "data.log": ("data", FileKind.SYMLINK),
        "far.log": ("../far/data", FileKind.SYMLINK),
        "too-long.log": ("x" * 300, FileKind.SYMLINK),
        "far": ("../far", FileKind.LINKED_DIRECTORY),
    }
    for name, (target, _) in targets.items():
        (logs / name).symlink_to(target)

    def selects(path: RelativePath, siblings: Siblings) -> bool:
        return path.endswith((b".log", b"far"))

    found = FILES.scan(watch_of(logs), selects)
    kinds = {os.fsdecode(one.path): one.stat.kind for one in found if isinstance(one, Entry)}
    assert {name: kinds[name] for name in targets} == {
        name: kind for name, (_, kind) in targets.items()
    }


def test_a_linked_directory_is_not_entered(logs: Path) -> None:
    outside = logs.parent / "outside"
    outside.mkdir()
    (outside / "app.log.1").write_bytes(b"secret")
    (logs / "sub").symlink_to(outside)
    entries, errors = scanned(watch_of(logs))
    assert set(entries) == {b"sub"}
    assert not errors
    assert refusal(logs, "sub/app.log.1").code == "NotFound"
    assert removal_refusal(watch_of(logs), "sub/app.log.1").code == "NotFound"
    assert (outside / "app.log.1").exists()


def test_a_directory_that_becomes_a_link_during_a_scan_is_not_entered(logs: Path) -> None:
    outside = logs.parent / "outside"
    outside.mkdir()
    (outside / "secret.log.1").write_bytes(b"secret")
    (logs / "a.log.1").write_bytes(b"x")
    (logs / "sub").mkdir()

    def swaps(path: RelativePath, _: Siblings) -> bool:
        if (logs / "sub").is_dir() and not (logs / "sub").is_symlink():
            (logs / "sub").rmdir()
            (logs / "sub").symlink_to(outside)
        return True

    found = list(FILES.scan(watch_of(logs), swaps))
    assert all(isinstance(entry, Entry) for entry in found)
    assert b"sub/secret.log.1" not in {entry.path for entry in found if isinstance(entry, Entry)}


def test_the_directory_of_a_watch_may_be_reached_through_a_link(logs: Path) -> None:
    (logs / "app.log.1").write_bytes(b"x")
    link = logs.parent / "link"
    link.symlink_to(logs)
    entries, errors = scanned(watch_of(link))
    assert set(entries) == {b"app.log.1"}
    assert not errors
    opened(link, "app.log.1").close()


def test_a_fifo_is_never_waited_for(logs: Path) -> None:
    os.mkfifo(logs / "app.log.1")
    entries, _ = scanned(watch_of(logs))
    assert entries[b"app.log.1"].stat.kind is FileKind.OTHER
    assert refusal(logs, "app.log.1").code == "NotRegular"


def test_a_socket_is_not_a_log(logs: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(logs / "app.log.1"))
        assert refusal(logs, "app.log.1").code == "NotRegular"


def test_a_name_with_a_zero_byte_is_refused(logs: Path) -> None:
    assert refusal(logs, "app\0.log").code == "NotRegular"


# Scans.


def test_a_missing_watch_is_said_with_a_hint(logs: Path) -> None:
    entries, errors = scanned(watch_of(logs / "nothing"))
    assert not entries
    assert [error.code for error in errors] == ["NotFound"]
    assert "nothing: No such file" in errors[0].detail
    assert errors[0].hint


def test_a_directory_without_permission_is_an_error_and_the_rest_is_found(logs: Path) -> None:
    (logs / "closed").mkdir()
    (logs / "closed" / "app.log.1").write_bytes(b"x")
    (logs / "closed").chmod(0)
    (logs / "app.log.1").write_bytes(b"x")
    with unprivileged():
        entries, errors = scanned(watch_of(logs))
    (logs / "closed").chmod(0o700)
    assert set(entries) == {b"app.log.1"}
    assert [error.code for error in errors] == ["DirectoryUnreadable"]
    assert "closed: Permission denied" in errors[0].detail
    assert errors[0].hint


def test_a_directory_that_may_be_listed_and_not_searched_is_an_error(logs: Path) -> None:
    (logs / "app.log.1").write_bytes(b"x")
    logs.chmod(0o744)
    with unprivileged():
        entries, errors = scanned(watch_of(logs))
    logs.chmod(0o755)
    if os.geteuid() == 0:
        assert not entries
        assert [error.code for error in errors] == ["DirectoryUnreadable"]


def test_what_vanishes_during_a_scan_is_no_error(logs: Path) -> None:
    for name in ("a", "b", "c"):
        (logs / name / "deep").mkdir(parents=True)
        (logs / name / "app.log.1").write_bytes(b"x")

    def sweeps(path: RelativePath, _: Siblings) -> bool:
        for name in ("a", "b", "c"):
            shutil.rmtree(logs / name, ignore_errors=True)
        return True

    assert not [
        entry for entry in FILES.scan(watch_of(logs), sweeps) if isinstance(entry, PortError)
    ]


def test_what_lies_too_deep_is_said_and_costs_no_more_descriptors(logs: Path) -> None:
    deepest = logs.joinpath(*["d"] * (DEEPEST + 5))
    deepest.mkdir(parents=True)
    (deepest / "app.log.1").write_bytes(b"x")
    within = logs.joinpath(*["d"] * DEEPEST)
    (within / "app.log.1").write_bytes(b"x")
    before, most = descriptors_open(), 0

    def counts(path: RelativePath, _: Siblings) -> bool:
        nonlocal most
        most = max(most, descriptors_open())
        return True

    found = list(FILES.scan(watch_of(logs), counts))
    assert [entry.path.count(b"/") for entry in found if isinstance(entry, Entry)] == [DEEPEST]
    errors = [entry for entry in found if isinstance(entry, PortError)]
    assert [error.code for error in errors] == ["DirectoryUnreadable"]
    assert f"more than {DEEPEST} directories deep" in errors[0].detail
    assert most <= before + 2 * (DEEPEST + 2)
    assert descriptors_open() == before


def test_a_scan_that_is_given_up_leaves_nothing_open(logs: Path) -> None:
    for number in range(3):
        (logs / f"{number}").mkdir()
        (logs / f"{number}" / "app.log.1").write_bytes(b"x")
    before = descriptors_open()
    scan = FILES.scan(watch_of(logs), lambda path, _: True)
    next(iter(scan))
    assert descriptors_open() > before
    del scan
    assert descriptors_open() == before


# Reading.


def test_a_file_without_permission_is_unreadable_with_a_hint(logs: Path) -> None:
    (logs / "app.log.1").write_bytes(b"x")
    (logs / "app.log.1").chmod(0)
    with unprivileged():
        error = refusal(logs, "app.log.1")
    assert error.code == "SourceUnreadable"
    assert "app.log.1: Permission denied" in error.detail
    assert error.hint


def test_a_file_of_somebody_else_can_be_read_although_its_access_time_must_change(
    logs: Path,
) -> None:
    (logs / "app.log.1").write_bytes(b"body")
    (logs / "app.log.1").chmod(0o644)
    with unprivileged():
        source = opened(logs, "app.log.1")
    assert source.read(0, 10) == b"body"
    source.close()


def test_a_failing_read_is_a_port_error_that_names_the_file(logs: Path) -> None:
    source = FileSource(os.open(logs, os.O_RDONLY), "name")
    with pytest.raises(PortError) as caught:
        source.read(0, 1)
    assert caught.value.code == "Unreadable"
    assert caught.value.detail == f"name: {os.strerror(errno.EISDIR)}"
    source.close()


def test_no_descriptor_is_inherited_by_children(logs: Path) -> None:
    (logs / "app.log.1").write_bytes(b"x")
    source = opened(logs, "app.log.1")
    assert not any(
        os.get_inheritable(int(number))
        for number in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{number}")
        and os.readlink(f"/proc/self/fd/{number}").endswith("app.log.1")
    )
    source.close()


def test_running_out_of_descriptors_is_said_with_a_hint(logs: Path) -> None:
    (logs / "sub").mkdir()
    (logs / "sub" / "app.log.1").write_bytes(b"x")
    with descriptors_left(0):
        error = refusal(logs, "sub/app.log.1")
    assert (error.code, "LimitNOFILE" in error.hint) == ("Unreadable", True)
    for left in range(4):
        before = descriptors_open()
        with descriptors_left(left):
            entries, errors = scanned(watch_of(logs))
        assert not entries
        assert [error.code for error in errors] == ["DirectoryUnreadable"]
        assert "LimitNOFILE" in errors[0].hint
        assert descriptors_open() == before


# Removing and archiving.


@pytest.mark.parametrize("verb", ["remove", "archive"])
def test_a_directory_that_may_not_be_written_keeps_its_files(logs: Path, verb: str) -> None:
    (logs / "app.log.1").write_bytes(b"x")
    (logs / "app.log.1").chmod(0o644)
    logs.chmod(0o555)
    (logs.parent / "archive").mkdir()
    (logs.parent / "archive").chmod(0o777)
    with unprivileged():
        watch = replace(watch_of(logs, logs.parent / "archive"), after_upload_unproven=True)
        error = removal_refusal(watch, "app.log.1", verb)
    logs.chmod(0o755)
    assert error.code == "RemoveDenied"
    assert error.hint
    assert (logs / "app.log.1").exists()


def test_an_archive_on_another_file_system_is_refused(logs: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == logs.stat().st_dev:
        pytest.skip("needs two file systems")
    (logs / "app.log.1").write_bytes(b"x")
    with tempfile.TemporaryDirectory(dir=memory) as archive:
        error = removal_refusal(watch_of(logs, archive), "app.log.1", "archive")
        assert os.listdir(archive) == []
    assert (error.code, bool(error.hint)) == ("CrossDevice", True)
    assert (logs / "app.log.1").exists()


def test_a_link_planted_in_an_inner_archive_leads_nowhere(logs: Path) -> None:
    """Who owns the watch's directory must not be able to place files elsewhere."""
    outside = logs.parent / "outside"
    outside.mkdir()
    (logs / "old").mkdir()
    (logs / "old" / "sub").symlink_to(outside)
    (logs / "sub").mkdir()
    (logs / "sub" / "app.log.1").write_bytes(b"x")
    inner = watch_of(logs, logs / "old")
    assert removal_refusal(inner, "sub/app.log.1", "archive").code == "RemoveDenied"
    shutil.rmtree(logs / "old")
    (logs / "old").symlink_to(outside)
    assert removal_refusal(inner, "sub/app.log.1", "archive").code == "RemoveDenied"
    assert list(outside.iterdir()) == []
    assert (logs / "sub" / "app.log.1").exists()


def test_archive_directories_are_made_for_the_owner_and_the_group(logs: Path) -> None:
    (logs / "sub").mkdir()
    (logs / "sub" / "app.log.1").write_bytes(b"x")
    archive = logs.parent / "new" / "archive"
    same = FILES.archive(watch_of(logs, archive), RelativePath(b"sub/app.log.1"), lambda _: True)
    assert same
    assert not stat.S_IMODE((archive / "sub").stat().st_mode) & 0o007


def test_removal_leaves_nothing_open(logs: Path) -> None:
    before = descriptors_open()
    for verb in ("remove", "archive"):
        (logs / "app.log.1").write_bytes(b"x")
        getattr(FILES, verb)(
            watch_of(logs, logs.parent / "archive"), RelativePath(b"app.log.1"), lambda _: True
        )
    removal_refusal(watch_of(logs), "app.log.1")
    assert descriptors_open() == before


def test_a_file_that_goes_at_the_last_moment_was_not_removed_here(logs: Path) -> None:
    (logs / "app.log.1").write_bytes(b"x")

    def too_late(directory: int, name: bytes, new_directory: int, new_name: bytes) -> None:
        os.unlink(name, dir_fd=directory)
        renameat2(directory, name, new_directory, new_name)

    assert not DirectoryFiles(rename=too_late).archive(
        watch_of(logs, logs.parent / "archive"), RelativePath(b"app.log.1"), lambda _: True
    )


def test_a_name_too_long_to_be_set_aside_is_removed_all_the_same(logs: Path) -> None:
    (logs / ("a" * 255)).write_bytes(b"x")
    assert FILES.remove(watch_of(logs), RelativePath(b"a" * 255), lambda _: True)
    assert list(logs.iterdir()) == []


def test_a_name_that_has_no_room_for_a_number_stays_where_it_is(logs: Path) -> None:
    name, archive = "a" * 255, logs.parent / "archive"
    archive.mkdir()
    (archive / name).write_bytes(b"first")
    (logs / name).write_bytes(b"second")
    error = removal_refusal(watch_of(logs, archive), name, "archive")
    assert (error.code, "File name too long" in error.detail) == ("Unreadable", True)
    assert (logs / name).read_bytes() == b"second"


@pytest.mark.parametrize("date_ns", [2**64, -(2**64)])
def test_a_date_beyond_what_the_journal_can_hold_is_brought_within(date_ns: int) -> None:
    status = os.stat_result(range(10), {"st_mtime_ns": date_ns, "st_ctime_ns": date_ns})
    found = stat_from_status(status)
    assert found.mtime_ns == found.ctime_ns
    whole_seconds = 2**63 // 10**9  # a search adds what is left of a second
    assert abs(found.mtime_ns) == whole_seconds * 10**9 - 1
    assert (found.mtime_ns > 0) is (date_ns > 0)


def test_a_name_that_vanished_while_it_was_looked_at_is_not_taken_for_unselected(
    logs: Path,
) -> None:
    """It may come back: a rename under way must never make a log invisible."""
    (logs / "app.log.1").write_bytes(b"x")
    scan_cache = ScanCache()

    def vanishes(path: RelativePath, _: Siblings) -> bool:
        os.rename(logs / "app.log.1", logs / "other")
        return True

    assert list(FILES.scan(watch_of(logs), vanishes, scan_cache)) == []
    os.rename(logs / "other", logs / "app.log.1")
    (found,) = FILES.scan(watch_of(logs), lambda path, _: True, scan_cache)
    assert isinstance(found, Entry)


def test_a_familiar_name_that_vanishes_under_a_scan_is_no_problem(logs: Path) -> None:
    for name in ("app.log.1", "app.log.2"):
        (logs / name).write_bytes(b"x")
    scan_cache = ScanCache()
    for entry in FILES.scan(watch_of(logs), lambda path, _: True, scan_cache):
        assert isinstance(entry, Entry)
        scan_cache.add(entry.path, entry.stat)
    (logs / "new.log.1").write_bytes(b"x")

    def sweeps(path: RelativePath, _: Siblings) -> bool:
        for name in ("app.log.1", "app.log.2"):
            (logs / name).unlink(missing_ok=True)
        return True

    found = list(FILES.scan(watch_of(logs), sweeps, scan_cache))
    assert {one.path for one in found if isinstance(one, Entry)} <= {b"new.log.1"}
    assert not [one for one in found if isinstance(one, PortError)]

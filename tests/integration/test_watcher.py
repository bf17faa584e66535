"""The watcher on real directories: what nudges, and what keeps nudging."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from shipper.edges.files.watcher import MOST_MATCHED, Watcher
from tests.fakes.log import RecordingLog
from tests.machines.machine import descriptors_left, privileged, public_directory, unprivileged
from tests.machines.waiting import comes_true
from tests.machines.watching import Nudges, reasons, watching


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


def test_everything_that_a_rotation_does_nudges(logs: Path) -> None:
    log, nudges = logs / "app.log", Nudges()
    log.write_bytes(b"x")
    with watching([("app", str(logs), True)], nudges.nudge) as (watcher, _):
        assert watcher.unwatched == {}
        assert nudges.come_after(lambda: log.rename(logs / "app.log.1"))
        assert nudges.come_after(lambda: log.write_bytes(b"x"))
        log.rename(logs.parent / "app.log.2")
        assert nudges.come_after(lambda: (logs.parent / "app.log.2").rename(logs / "app.log.2"))


def test_a_new_directory_nudges_and_so_does_what_is_in_it(logs: Path) -> None:
    nudges = Nudges()
    with watching([("app", str(logs), True)], nudges.nudge):
        assert nudges.come_after((logs / "sub").mkdir)
        assert comes_true(
            lambda: nudges.come_after(lambda: (logs / "sub" / "app.log.1").write_bytes(b"x"))
        )


def test_writing_to_a_log_does_not_nudge(logs: Path) -> None:
    """Neither to an open one nor, as ``echo >> log`` does, to one opened for each line."""
    path, nudges = logs / "app.log", Nudges()
    (logs / "app.log.9").touch()
    with (
        open(path, "wb", buffering=0) as log,
        watching([("app", str(logs), True)], nudges.nudge),
    ):
        for _ in range(2000):
            log.write(b"a line\n")
            path.read_bytes()
        for _ in range(2000):
            with open(path, "ab") as opened:
                opened.write(b"a line\n")
        os.truncate(path, 0)
        (logs / "app.log.9").unlink()
        assert nudges.come_after((logs / "fence").mkdir)
        assert nudges.count == 1


def test_a_missing_directory_is_said_once_and_watched_when_it_comes(tmp_path: Path) -> None:
    directory, nudges = tmp_path / "later", Nudges()
    with watching([("app", str(directory), True)], nudges.nudge) as (watcher, log):
        assert reasons(watcher) == {"app": "ENOENT"}
        watcher.retry()
        assert log.events == ["watch.refused"]
        assert [said["code"] for said in log.of("watch.refused")] == ["ENOENT"]
        assert log.of("watch.refused")[0]["hint"]
        directory.mkdir()
        assert nudges.come_after(watcher.retry), "what came with the directory is to be found"
        assert watcher.unwatched == {}
        assert log.events == ["watch.refused", "watch.begun"]
        assert nudges.come_after(lambda: (directory / "app.log.1").write_bytes(b"x"))


def test_while_all_is_well_a_retry_changes_nothing(logs: Path) -> None:
    nudges = Nudges()
    with watching([("app", str(logs), True)], nudges.nudge) as (watcher, log):
        before = set(threading.enumerate())
        watcher.retry()
        assert set(threading.enumerate()) == before
        assert (log.events, nudges.count) == ([], 0)


def test_a_directory_that_was_replaced_is_watched_anew(logs: Path) -> None:
    nudges = Nudges()
    with watching([("app", str(logs), True)], nudges.nudge) as (watcher, _):
        logs.rename(logs.parent / "old")
        logs.mkdir()
        assert nudges.come_after(watcher.retry)
        assert nudges.come_after(lambda: (logs / "app.log.1").write_bytes(b"x"))


def test_a_directory_that_was_removed_and_made_again_is_watched_anew(logs: Path) -> None:
    """It may well get the same inode."""
    nudges = Nudges()
    with watching([("app", str(logs), True)], nudges.nudge) as (watcher, _):
        for _ in range(3):
            shutil.rmtree(logs)
            logs.mkdir()

            def is_nudged() -> bool:
                watcher.retry()
                before = nudges.count
                (logs / "app.log.1").write_bytes(b"x")
                comes_true(lambda: nudges.count > before, 0.5)  # then it is tried again
                (logs / "app.log.1").unlink()
                return nudges.count > before

            assert comes_true(is_nudged)
        assert watcher.unwatched == {}


def test_a_directory_that_goes_is_unwatched(logs: Path) -> None:
    with watching([("app", str(logs), True)], Nudges().nudge) as (watcher, _):
        logs.rmdir()
        watcher.retry()
        assert reasons(watcher) == {"app": "ENOENT"}


def test_a_directory_reached_through_a_link_is_watched_where_the_link_leads(logs: Path) -> None:
    link, nudges = logs.parent / "link", Nudges()
    link.symlink_to(logs)
    with watching([("app", str(link), True)], nudges.nudge) as (watcher, _):
        assert nudges.come_after(lambda: (logs / "app.log.1").write_bytes(b"x"))
        (logs.parent / "other").mkdir()
        link.unlink()
        link.symlink_to(logs.parent / "other")
        watcher.retry()
        assert nudges.come_after(lambda: (link / "app.log.1").write_bytes(b"x"))


def test_watches_may_share_a_directory(logs: Path) -> None:
    nudges, link = Nudges(), logs.parent / "link"
    link.symlink_to(logs)
    roots = [("a", str(logs), True), ("b", str(logs), True), ("c", str(link), True)]
    with watching([*roots, ("d", str(logs), False)], nudges.nudge) as (watcher, _):
        assert watcher.unwatched == {}
        shutil.rmtree(logs)
        watcher.retry()
        assert set(watcher.unwatched) == {"a", "b", "c", "d"}
        logs.mkdir()
        watcher.retry()
        assert watcher.unwatched == {}
        assert nudges.come_after(lambda: (logs / "app.log.1").write_bytes(b"x"))


def test_a_file_is_not_a_directory_to_watch(logs: Path) -> None:
    (logs / "file").touch()
    with watching([("app", str(logs / "file"), True)], Nudges().nudge) as (watcher, log):
        assert reasons(watcher) == {"app": "ENOTDIR"}
        assert [said["code"] for said in log.of("watch.refused")] == ["ENOTDIR"]


def test_a_directory_without_permission_is_unwatched() -> None:
    """watchdog itself passes over it in silence."""
    with public_directory() as top:
        (top / "closed").mkdir()
        (top / "closed").chmod(0)
        with (
            unprivileged(),
            watching([("app", str(top / "closed"), True)], Nudges().nudge) as (watcher, _),
        ):
            assert reasons(watcher) == {"app": "EACCES"}


def test_a_directory_that_becomes_readable_is_watched_then() -> None:
    nudges = Nudges()
    with public_directory() as top:
        (top / "closed").mkdir(mode=0o777)
        (top / "closed").chmod(0)
        with (
            unprivileged(),
            watching([("app", str(top / "closed"), True)], nudges.nudge) as (one, _),
        ):
            assert not one.has_unwatched(), "a scan would not see it either"
            with privileged():
                (top / "closed").chmod(0o777)
            assert nudges.come_after(one.retry)
            assert nudges.come_after((top / "closed" / "app.log.1").touch)


def test_a_directory_that_becomes_unreadable_goes_on_nudging() -> None:
    nudges = Nudges()
    with public_directory() as top:
        (top / "logs").mkdir(mode=0o777)
        with (
            unprivileged(),
            watching([("app", str(top / "logs"), True)], nudges.nudge) as (one, _),
        ):
            with privileged():
                (top / "logs").chmod(0)
                one_more = top / "logs" / "app.log.1"
                assert nudges.come_after(one_more.touch)
            one.retry()
            assert (reasons(one), one.has_unwatched()) == ({}, False)


def test_when_no_inotify_instance_is_left_nothing_breaks(logs: Path) -> None:
    nudges = Nudges()
    watcher = Watcher([("app", str(logs), True)], nudge=nudges.nudge, log=RecordingLog())
    with descriptors_left(1):  # enough to look at the directory
        watcher.start()
    assert reasons(watcher) == {"app": "EMFILE"}
    assert watcher.has_unwatched()
    assert not watcher.is_alive()
    watcher.retry()
    assert watcher.unwatched == {}
    assert nudges.come_after(lambda: (logs / "app.log.1").write_bytes(b"x"))
    watcher.stop()


def test_a_nudge_that_fails_is_logged_and_the_next_one_comes(logs: Path) -> None:
    nudges = Nudges()

    def nudge() -> None:
        nudges.nudge()
        raise ValueError("a bug")

    with watching([("app", str(logs), True)], nudge) as (watcher, log):
        assert nudges.come_after(lambda: (logs / "app.log.1").write_bytes(b"x"))
        assert nudges.come_after(lambda: (logs / "app.log.2").write_bytes(b"x"))
        assert watcher.is_alive()
        assert set(log.events) == {"ring.failed"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_noticed_and_replaced(logs: Path) -> None:
    nudges, is_deadly = Nudges(), threading.Event()
    is_deadly.set()

    def nudge() -> None:
        nudges.nudge()
        if is_deadly.is_set():
            raise SystemExit

    with watching([("app", str(logs), True)], nudge) as (watcher, log):
        assert watcher.is_alive()
        assert nudges.come_after(lambda: (logs / "app.log.1").write_bytes(b"x"))
        assert comes_true(lambda: not watcher.is_alive())
        is_deadly.clear()
        assert nudges.come_after(watcher.retry), "what was missed is to be found"
        assert watcher.is_alive()
        assert log.events == ["watcher.died"]
        assert nudges.come_after(lambda: (logs / "app.log.2").write_bytes(b"x"))


def test_stopping_ends_every_thread_and_may_be_repeated(logs: Path) -> None:
    before = set(threading.enumerate())
    with watching([("app", str(logs), True)], Nudges().nudge) as (watcher, _):
        assert watcher.is_alive()
        watcher.stop()
        assert not watcher.is_alive()
        watcher.stop()
    assert comes_true(lambda: set(threading.enumerate()) <= before)


def test_directories_that_match_are_listened_to_as_they_come_and_go(logs: Path) -> None:
    nudges = Nudges()
    for name in ("a", "b"):
        (logs / name / "sub").mkdir(parents=True)
    odd = b"c\xff/"
    with watching([("app", str(logs), False)], nudges.nudge) as (watcher, log):
        assert nudges.come_after(lambda: watcher.follow("app", [b"a/", b"b/"], recursive=True))
        assert nudges.come_after(lambda: (logs / "a" / "sub" / "app.log.1").write_bytes(b"x"))
        shutil.rmtree(logs / "a")
        watcher.retry()
        assert reasons(watcher) == {"app/a": "ENOENT"}
        watcher.follow("app", [b"b/"], recursive=True)
        assert (reasons(watcher), log.events) == ({}, [])
        watcher.follow("app", [b"b/"], recursive=True)
        watcher.follow("app", [odd, b"b/"], recursive=True)
        assert reasons(watcher) == {"app/c%FF": "ENOENT"}
        (logs / os.fsdecode(odd)).mkdir()
        watcher.retry()
        assert reasons(watcher) == {}
        watcher.follow("app", [], recursive=True)
        assert reasons(watcher) == {}


def test_a_link_in_a_matched_directorys_place_is_not_listened_to(logs: Path) -> None:
    (logs / "evil").symlink_to("/")
    with watching([("app", str(logs), False)], lambda: None) as (watcher, _):
        watcher.follow("app", [b"evil/"], recursive=True)
        assert reasons(watcher) == {"app/evil": "ENOENT"}


def test_so_many_directories_cost_no_threads_and_are_scanned_more_often(logs: Path) -> None:
    many = [b"t%d/" % number for number in range(MOST_MATCHED + 1)]
    for name in many:
        (logs / os.fsdecode(name)).mkdir()
    with watching([("app", str(logs), False)], lambda: None) as (watcher, _):
        before = threading.active_count()
        watcher.follow("app", many, recursive=True)
        assert threading.active_count() == before
        assert reasons(watcher) == {"app/*": "ManyDirectories"}
        assert watcher.has_unwatched()
        watcher.follow("app", many[1:], recursive=True)
        assert reasons(watcher) == {}

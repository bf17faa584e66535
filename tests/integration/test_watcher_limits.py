"""The watcher at its limits: no inotify left, events that overflow, thousands of directories."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shipper.edges.files import marks
from shipper.runtime.loops import LONGEST_WAIT_SECONDS
from tests.machines.bell import Bell, watching
from tests.machines.instance import Instance
from tests.machines.limits import limited
from tests.machines.waiting import comes_true

DIRECTORIES = 2000


@pytest.mark.parametrize(("scenario", "code"), [("instances", "EMFILE"), ("watches", "ENOSPC")])
def test_a_root_that_inotify_refuses_is_scanned_until_it_no_longer_does(
    tmp_path: Path, scenario: str, code: str
) -> None:
    assert limited(scenario, tmp_path) == [
        {"codes": [code]},
        {"deaf": True, "rings": 0},
        {"deaf": False, "rings": True, "event": "watch.begun"},
        {"rings": True},
    ]


def test_subdirectories_that_inotify_refuses_are_counted_and_tried_again(tmp_path: Path) -> None:
    assert limited("partly", tmp_path) == [
        {"before": False},
        {"app": ["ENOSPC", 3]},
        {"app": ["ENOSPC", 3]},
        {"deaf": True, "events": ["watch.refused"]},
        {"rings": True},
        {"deaf": False, "events": ["watch.refused", "watch.begun"]},
        {"heard": [True] * 5},
    ]


def test_thousands_of_directories_take_one_inotify_instance(tmp_path: Path) -> None:
    for number in range(DIRECTORIES):
        (tmp_path / f"{number % 40}" / f"{number}").mkdir(parents=True)
    bell, before = Bell(), len(os.listdir("/proc/self/fd"))
    with watching([("app", str(tmp_path), True)], bell.nudge) as (watcher, _):
        assert len(os.listdir("/proc/self/fd")) - before <= 5
        assert sum(marks.marks().values()) >= DIRECTORIES + 41
        watcher.survey()
        assert (watcher.unwatched, bell.nudges) == ({}, 0)
        assert bell.rings_after((tmp_path / "39" / "1999" / "app.log.1").touch)


def test_a_directory_that_lost_its_watch_is_found_and_listened_to_again(tmp_path: Path) -> None:
    """As one that was made while events overflowed: here watchdog itself is made to forget it."""
    (tmp_path / "a").mkdir()
    bell = Bell()
    with watching([("app", str(tmp_path), True)], bell.nudge) as (watcher, log):
        assert watcher._observer is not None
        [emitter] = watcher._observer.emitters
        group = emitter._inotify  # type: ignore[attr-defined]  # watchdog's own
        group._remove_callbacks([group._active_callbacks_by_path[os.fsencode(tmp_path / "a")]])
        assert bell.rings_after(watcher.survey)
        assert (watcher.unwatched, log.events) == ({}, [])
        assert bell.rings_after((tmp_path / "a" / "app.log.1").touch)


def test_where_the_kernel_tells_nothing_nothing_is_concluded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.setattr(marks, "_MARK", re.compile(b"never"))
    bell = Bell()
    with watching([("app", str(tmp_path), True)], bell.nudge) as (watcher, log):
        watcher.survey()
        assert (watcher.unwatched, bell.nudges, log.events) == ({}, 0, [])


def test_a_rotation_in_a_directory_made_just_before_rings_within_two_tries(tmp_path: Path) -> None:
    """The directory is not listened to yet; watchdog catches up, and if not, ``retry`` rings."""
    nudged: list[float] = []
    with watching([("app", str(tmp_path), True)], lambda: nudged.append(time.monotonic())) as (
        watcher,
        _,
    ):
        for number in range(50):
            log = tmp_path / f"{number}" / "deep" / "app.log"
            log.parent.mkdir(parents=True)
            log.touch()
            log.rename(log.with_suffix(".log.1"))
            rotated_at = time.monotonic()
            assert comes_true(lambda: _retried(watcher.retry) and nudged[-1:] > [rotated_at])  # noqa: B023


def _retried(retry: Callable[[], None]) -> bool:
    retry()
    return True


def is_stopped(pid: int) -> bool:
    """Whether no thread of the process runs any more."""
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(thread.read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)


def test_a_rotation_whose_events_overflowed_is_shipped(
    instance: Callable[..., Instance],
) -> None:
    """A stopped daemon reads no events; the kernel drops what its queue cannot hold."""
    machine = instance()
    interval = machine.config.read_text().replace('interval = "1s"', 'interval = "20m"')
    machine.config.write_text(interval)
    live = machine.write("app.log", b"a line\n")
    daemon = machine.start()
    machine.wait_for(lambda: machine.events("daemon.ready"), "the daemon to be ready")
    os.kill(daemon.process.pid, signal.SIGSTOP)
    machine.wait_for(lambda: is_stopped(daemon.process.pid), "every thread to stop")
    queued = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for number in range(queued + 100):
        passing = machine.logs / f"passing-{'ab'[number % 2]}"  # equal events would become one
        passing.touch()
        passing.unlink()
    live.rename(machine.logs / "app.log.1")
    machine.write("late/app.log.1", b"in a directory that no event told of\n")
    os.kill(daemon.process.pid, signal.SIGCONT)
    machine.wait_until_shipped(2)
    machine.wait_for(lambda: "overflowed" in machine.log_text(), "watchdog to notice")
    machine.write("late/app.log.2", b"and there is one more\n")
    machine.wait_until_shipped(3, seconds=LONGEST_WAIT_SECONDS / 2)
    assert machine.stop() == 0

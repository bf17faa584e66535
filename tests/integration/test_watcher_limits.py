"""The watcher at its limits: no inotify left, events that overflow, thousands of directories."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shipper.runtime.loops import LONGEST_WAIT_SECONDS
from tests.machines.instance import Instance
from tests.machines.limits import limited
from tests.machines.watching import Nudges, comes_true, watching

DIRECTORIES = 2000


@pytest.mark.parametrize(("scenario", "code"), [("instances", "EMFILE"), ("watches", "ENOSPC")])
def test_a_root_that_inotify_refuses_is_scanned_until_it_no_longer_does(
    tmp_path: Path, scenario: str, code: str
) -> None:
    assert limited(scenario, tmp_path) == [
        {"codes": [code]},
        {"unwatched": True, "nudged": 0},
        {"unwatched": False, "nudged": True, "event": "watch.begun"},
        {"nudged": True},
    ]


def test_subdirectories_that_inotify_refuses_keep_nobody_from_the_others(tmp_path: Path) -> None:
    assert limited("partly", tmp_path) == [
        {"unwatched": False, "events": []},
        {"nudged": True},
        {"two": True},
        {"unwatched": False, "events": []},
    ]


def test_thousands_of_directories_take_one_inotify_instance(tmp_path: Path) -> None:
    for number in range(DIRECTORIES):
        (tmp_path / f"{number % 40}" / f"{number}").mkdir(parents=True)
    nudges, before = Nudges(), len(os.listdir("/proc/self/fd"))
    with watching([("app", str(tmp_path), True)], nudges.nudge) as (watcher, _):
        assert len(os.listdir("/proc/self/fd")) - before <= 5
        assert (watcher.unwatched, nudges.count) == ({}, 0)
        assert nudges.come_after((tmp_path / "39" / "1999" / "app.log.1").touch)


def test_a_rotation_in_a_directory_made_just_before_nudges_within_two_tries(
    tmp_path: Path,
) -> None:
    """The directory is not listened to yet; watchdog catches up, and if not, ``retry`` nudges."""
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

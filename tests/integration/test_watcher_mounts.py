"""The watcher and file systems that come, go, and tell of nothing: real mounts, where they may be.

Whoever may not mount (an ordinary user, most containers) skips these, and is told so.
"""

import ctypes
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.machines.watching import Nudges, reasons, watching

MNT_DETACH = 2
_LIBC = ctypes.CDLL(None, use_errno=True)


def mount(*arguments: object) -> None:
    """mount(8), or a skip."""
    command = ["mount", *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this test mounts a file system, which is not allowed here: {done.stderr}")


def unmount(root: Path) -> bool:
    """umount2(2), also where somebody is still there."""
    return not _LIBC.umount2(os.fsencode(root), MNT_DETACH)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A directory to mount on."""
    (tmp_path / "logs").mkdir()
    yield tmp_path / "logs"
    while unmount(tmp_path / "logs"):
        pass


@contextmanager
def silent_server(root: Path) -> Iterator[None]:
    """A FUSE file system whose server never answers: whoever touches it hangs."""
    try:
        server = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        pytest.skip(f"this test mounts a FUSE file system: {error}")
    try:
        options = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
        if _LIBC.mount(b"server", os.fsencode(root), b"fuse.sshfs", 0, options):
            pytest.skip(f"this test mounts a FUSE file system: errno {ctypes.get_errno()}")
        yield
    finally:
        os.close(server)  # ends the connection, and with it every wait


def test_a_file_system_mounted_over_a_root_is_watched_and_so_is_what_it_covered(
    root: Path,
) -> None:
    nudges = Nudges()
    with watching([("app", str(root), True)], nudges.nudge) as (watcher, _):
        mount("-t", "tmpfs", "none", root)
        assert nudges.come_after(watcher.retry)
        assert nudges.come_after((root / "app.log.1").touch)
        unmount(root)
        assert nudges.come_after(watcher.retry)
        assert nudges.come_after((root / "app.log.1").touch)
        assert watcher.unwatched == {}


def test_a_file_system_that_is_mounted_again_between_two_looks_is_watched(root: Path) -> None:
    """The table of mounts reads as before, for the kernel gives the same numbers again."""
    mount("-t", "tmpfs", "none", root)
    nudges = Nudges()
    with watching([("app", str(root), True)], nudges.nudge) as (watcher, log):
        watcher.retry()
        assert unmount(root)
        mount("-t", "tmpfs", "none", root)
        assert nudges.come_after(watcher.retry), "what was renamed in between is looked for"
        assert nudges.come_after((root / "app.log.1").touch)
        assert (watcher.unwatched, log.events) == ({}, [])


def test_a_file_system_mounted_below_a_root_is_watched_unless_it_is_no_part_of_it(
    root: Path,
) -> None:
    below, nudges = root / "below", Nudges()
    below.mkdir()
    roots = [("all", str(root), True), ("top", str(root), False)]
    try:
        with watching(roots, nudges.nudge) as (watcher, log):
            mount("-t", "tmpfs", "none", below)
            assert nudges.come_after(watcher.retry)
            assert [said["watch"] for said in log.of("watch.begun")] == ["all"]
            assert nudges.come_after((below / "app.log.1").touch)
            assert watcher.unwatched == {}
    finally:
        unmount(below)


def test_an_overlay_gives_events_where_directories_are_copied_up(
    root: Path, tmp_path: Path
) -> None:
    for name in ("lower/nginx", "upper", "work"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "lower" / "nginx" / "access.log").write_bytes(b"from the image\n")
    layers = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    mount("-t", "overlay", "none", "-o", layers, root)
    log, nudges = root / "nginx" / "access.log", Nudges()
    with watching([("app", str(root), True)], nudges.nudge) as (watcher, _):
        assert watcher.unwatched == {}
        assert not (tmp_path / "upper" / "nginx").exists()
        assert nudges.come_after(lambda: log.rename(root / "nginx" / "access.log.1"))
        assert (tmp_path / "upper" / "nginx").exists()
        assert nudges.come_after(log.touch)
        assert watcher.unwatched == {}


@pytest.mark.parametrize("below", ["", "below"])
def test_a_network_mount_whose_server_is_gone_holds_nobody_up(root: Path, below: str) -> None:
    """It is known by the table of mounts, and never touched."""
    target, nudges = root / below, Nudges()
    target.mkdir(exist_ok=True)
    with silent_server(target):
        touching = threading.Thread(target=os.path.exists, args=[target], daemon=True)
        touching.start()
        with watching([("app", str(root), True)], nudges.nudge) as (watcher, log):
            watcher.retry()
            assert touching.is_alive(), "it does hang"
            assert reasons(watcher) == {"app": "NetworkMount"}
            assert watcher.unwatched["app"].detail == f"fuse.sshfs at {target}"
            assert watcher.has_unwatched()
            assert log.events == ["watch.refused"]
            unmount(target)
            assert nudges.come_after(watcher.retry)
            assert nudges.come_after((root / "app.log.1").touch)
            assert not watcher.has_unwatched()
    touching.join()


def test_a_network_mount_that_comes_later_ends_the_listening(root: Path) -> None:
    with watching([("app", str(root), True)], Nudges().nudge) as (watcher, _), silent_server(root):
        watcher.retry()
        assert reasons(watcher) == {"app": "NetworkMount"}
        unmount(root)


def table_of(directory: Path, kind: str) -> str:
    """The file of a table of one mount."""
    (directory / "mountinfo").write_text(
        f"1 1 0:1 / / rw - none none rw\n2 1 0:2 / {directory} rw - {kind} x rw\n"
    )
    return str(directory / "mountinfo")


def test_a_root_that_a_link_puts_on_a_network_mount_is_not_listened_to(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    there, here = tmp_path_factory.mktemp("efs"), tmp_path_factory.mktemp("here")
    (here / "logs").symlink_to(there)
    roots = [("link", str(here / "logs"), True), ("local", str(here), False)]
    with watching(roots, Nudges().nudge, table_of(there, "nfs4")) as (watcher, _):
        assert reasons(watcher) == {"link": "NetworkMount"}


def test_where_there_is_no_table_of_mounts_everything_is_listened_to(root: Path) -> None:
    nudges, missing = Nudges(), str(root / "missing")
    with watching([("app", str(root), True)], nudges.nudge, missing) as (watcher, _):
        watcher.retry()
        assert watcher.unwatched == {}
        assert nudges.come_after((root / "app.log.1").touch)

"""A disk that is mounted late, or unmounted: real mounts, where they may be."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.types import AfterUpload, State, Watch
from shipper.edges.files.directory_files import DirectoryFiles
from shipper.mock.imds import MockImds
from shipper.ports import PortError
from tests.fakes.servers import Moto
from tests.integration.test_watcher_mounts import mount, unmount
from tests.machines.hostile import HostileWorld, hostile_watch
from tests.machines.instance import Instance, facts

MAKERS = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"]}


def image_of(path: Path, kind: str) -> Path:
    with path.open("wb") as file:
        file.truncate(320 * 1024**2)
    try:
        subprocess.run([*MAKERS[kind], str(path)], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip(f"this test needs mkfs.{kind}")
    return path


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    for name in ("logs", "archive", "state"):
        (tmp_path / name).mkdir()
    yield hostile_watch(tmp_path, AfterUpload.KEEP)
    while unmount(tmp_path / "logs"):
        pass


@pytest.mark.parametrize("kind", MAKERS)
def test_a_file_system_is_the_same_after_it_was_mounted_again_and_no_other_is(
    tmp_path: Path, watch: Watch, kind: str
) -> None:
    files, logs = DirectoryFiles(), tmp_path / "logs"
    first, second = (image_of(tmp_path / name, kind) for name in ("first.img", "second.img"))
    bare = files.place(watch)
    seen = []
    for image in (first, second, first):
        mount("-o", "loop", image, logs)
        seen.append(files.place(watch))
        assert unmount(logs)
    assert files.place(watch) == bare
    assert seen[0] == seen[2]
    assert len({bare, *seen}) == 3


def test_a_directory_that_is_made_anew_or_bound_over_is_another(
    tmp_path: Path, watch: Watch
) -> None:
    files, logs = DirectoryFiles(), tmp_path / "logs"
    first = files.place(watch)
    (logs / "sub").mkdir()
    (logs / "app.log.1").write_bytes(b"")
    assert files.place(watch) == first
    logs.rename(tmp_path / "old")
    with pytest.raises(PortError, match="NotFound"):
        files.place(watch)
    logs.mkdir()
    assert files.place(watch) != first
    assert files.place(replace(watch, directory=str(tmp_path / "old"))) == first
    mount("--bind", tmp_path / "old", logs)
    assert files.place(watch) == first
    mount("-t", "tmpfs", "tmpfs", logs)
    assert files.place(watch) != first


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
@pytest.mark.parametrize("after", [AfterUpload.KEEP, AfterUpload.DELETE])
def test_logs_on_a_disk_that_is_not_mounted_wait_for_it(
    tmp_path: Path, watch: Watch, kind: str, after: AfterUpload
) -> None:
    logs, image = tmp_path / "logs", image_of(tmp_path / "disk.img", "ext4")
    mount("-o", "loop", image, logs)
    watch = replace(watch, after_upload=after, delete_after_seconds=7200.0)
    world = HostileWorld(tmp_path / "state", watch=watch, held_files=0)
    with ExitStack() as leaving:
        leaving.callback(lambda: world.stop())  # noqa: PLW0108  (the last life)
        (logs / "app.log.1").write_bytes(b"shipped\n")
        world.run(rounds=2)
        (logs / "app.log.2").write_bytes(b"promised\n")
        world.discover()
        world.stop()
        assert unmount(logs)
        if kind == "tmpfs":
            mount("-t", "tmpfs", "tmpfs", logs)
        world.start()
        (logs / "stray.log.1").write_bytes(b"written before the disk came\n")
        world.clock.advance(hours=3)
        world.run(rounds=5)
        rows = {bytes(row.path): row.state for row in world.rows()}
        assert rows[b"app.log.2"] is State.READY
        assert rows[b"app.log.1"] is (State.DONE if after is AfterUpload.KEEP else State.VERIFIED)
        assert b"written before the disk came\n" in world.contents()
        assert list(world.roots.others) == [watch.name]
        if kind == "tmpfs":
            assert unmount(logs)
        mount("-o", "loop", image, logs)
        world.clock.advance(hours=3)
        world.run(rounds=5)
        assert world.contents().count(b"promised\n") == 1
        assert world.contents().count(b"shipped\n") == 1
        assert not world.roots.others
        world.clock.advance(hours=3)
        world.run(rounds=2)
        if after is AfterUpload.DELETE:
            assert not [path for path in logs.iterdir() if path.name.startswith("app")]


@pytest.mark.parametrize("kind", ["ext4", "tmpfs", "bind", "matched"])
@pytest.mark.parametrize("after", [AfterUpload.KEEP, AfterUpload.DELETE])
def test_logs_on_a_file_system_below_a_watch_wait_for_it(
    tmp_path: Path, watch: Watch, kind: str, after: AfterUpload
) -> None:
    """Of a bind mount neither the device number nor the file system differs.

    A directory that matches a glob (``matched``) is no other than any below a watch.
    """
    logs, data = tmp_path / "logs", tmp_path / "logs" / "data"
    data.mkdir()
    disk: tuple[object, ...] = ("--bind", tmp_path / "disk")
    if kind in ("bind", "matched"):
        (tmp_path / "disk").mkdir()
    else:
        disk = ("-o", "loop", image_of(tmp_path / "disk.img", "ext4"))
    mount(*disk, data)
    pattern = "d*/" if kind == "matched" else ""
    watch = replace(watch, after_upload=after, delete_after_seconds=7200.0, pattern=pattern)
    world = HostileWorld(tmp_path / "state", watch=watch, held_files=0)
    with ExitStack() as leaving:
        leaving.callback(unmount, data)
        leaving.callback(lambda: world.stop())  # noqa: PLW0108  (the last life)
        (data / "app.log.1").write_bytes(b"shipped\n")
        world.run(rounds=2)
        (data / "app.log.2").write_bytes(b"promised\n")
        world.discover()
        world.stop()
        assert unmount(data)
        if kind == "tmpfs":
            mount("-t", "tmpfs", "tmpfs", data)
        world.start()
        (data / "stray.log.1").write_bytes(b"written before the disk came\n")
        (logs / "own.log.1").write_bytes(b"the watch's own\n")
        world.clock.advance(hours=3)
        world.run(rounds=5)
        rows = {bytes(row.path): row.state for row in world.rows()}
        assert rows[b"data/app.log.2"] is State.READY
        assert rows[b"data/app.log.1"] is (
            State.DONE if after is AfterUpload.KEEP else State.VERIFIED
        )
        assert b"written before the disk came\n" in world.contents()
        assert (b"the watch's own\n" in world.contents()) is not bool(pattern)
        ((place,),) = world.roots.others.values()
        assert place.endswith(" at data")
        if kind == "tmpfs":
            assert unmount(data)
        mount(*disk, data)
        world.clock.advance(hours=3)
        world.run(rounds=5)
        assert world.contents().count(b"promised\n") == 1
        assert world.contents().count(b"shipped\n") == 1
        world.clock.advance(hours=3)
        world.run(rounds=2)
        if after is AfterUpload.DELETE:
            assert not [path for path in data.iterdir() if path.name.startswith("app")]
        (data / "app.log.3").write_bytes(b"lost\n")
        world.discover()
        (data / "app.log.3").unlink()
        world.run(rounds=2)
        assert {bytes(row.path): row.state for row in world.rows()}[
            b"data/app.log.3"
        ] is State.GONE


def test_a_directory_that_is_mounted_on_itself_is_the_same_with_and_without(
    tmp_path: Path, watch: Watch
) -> None:
    """As ``ReadWritePaths=`` does, for the daemon and not for ``check``."""
    files, data = DirectoryFiles(), tmp_path / "logs" / "data"
    data.mkdir()
    own = files.place(watch, b"data/x")
    mount("--bind", data, data)
    try:
        bound = files.place(watch, b"data/x")
        assert bound != own
        assert files.place(watch, b"data/x", b"data/") == bound
    finally:
        assert unmount(data)
    assert files.place(watch, b"data/x") == own
    assert files.place(watch, b"data/x", b"data/") == bound


def test_status_health_and_check_say_that_another_file_system_stands_there(
    tmp_path: Path, moto: Moto
) -> None:
    with MockImds(facts()) as imds:
        moto.create_bucket("late-mounts")
        machine = Instance(tmp_path / "machine", moto, imds, bucket="late-mounts")
        try:
            machine.write("app.log.1", b"shipped\n")
            machine.start()
            machine.wait_for(lambda: machine.files("DONE") == 1, "the log")
            machine.stop()
            machine.logs.rename(tmp_path / "old")
            machine.logs.mkdir()
            machine.start()

            def ailments() -> str:
                return str((machine.status() or {}).get("ailments"))

            machine.wait_for(lambda: "OtherFileSystem" in ailments(), "an ailment")
            checked = machine.run("check", "--offline", code=1)
            assert "another file system than before" in checked
            machine.write("app.log.1", b"anew\n")
            machine.wait_for(lambda: machine.files("DONE") == 2, "the new log")
            machine.wait_for(lambda: "OtherFileSystem" not in ailments(), "no ailment")
            machine.logs.rename(tmp_path / "older")
            machine.logs.mkdir()
            machine.wait_for(lambda: "OtherFileSystem" in ailments(), "an ailment")
            machine.run("acknowledge", "--all")
            machine.wait_for(lambda: "OtherFileSystem" not in ailments(), "no ailment")
        finally:
            machine.end()

"""The container image: built by buildah and run by podman, on a base made by debootstrap.

No registry is asked. The base is a Debian with its own Python, and what is installed comes from
wheels that this machine's pip made.
"""

import contextlib
import datetime
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shipper.mock.imds import MockImds
from tests.fakes.servers import Moto
from tests.machines.instance import INSTANCE_ID, facts
from tests.machines.nspawn import run
from tests.machines.trees import Program, debian
from tests.machines.world import decoded

ROOT = Path(__file__).parents[2]
PACKAGES = ("python3", "python3-venv", "ca-certificates")
UNWANTED = ("./var/cache/apt", "./var/lib/apt/lists", "./usr/share/doc", "./usr/share/man")
BASE, IMAGE, NAME, BUCKET = "localhost/base:1", "localhost/shipper:1", "shipper-1", "container"
USER_ID, ADM = 963, 4
LONGEST_SECONDS = 120.0
LOGS = {"own.log": b"a line of its own\n" * 2000, "nginx.log": b"a line of nginx\n" * 3000}
# What the Dockerfile's first lines say; podman's defaults ask for more than a container may have
# that is itself in one (limits), or for a systemd (control groups, timers for the health check).
RUN = [
    *("--read-only", "--read-only-tmpfs=false", "--cap-drop=all"),
    *("--security-opt=no-new-privileges", f"--group-add={ADM}", "--network=host"),
    *("--volume=state:/var/lib/shipper", "--stop-timeout=30"),
    *("--cgroups=disabled", "--ulimit=nofile=1024:4096", "--ulimit=nproc=1000:1000"),
]
CONFIGURATION = """\
[destination]
bucket = "{bucket}"
endpoint_url = "{s3}"
addressing_style = "path"
[credentials]
metadata_endpoint = "{imds}"
[[watch]]
directory = "/var/log"
settle = "1s"
[scan]
interval = "2s"
"""


class Engine:
    """buildah and podman with a storage of their own below ``directory``."""

    def __init__(self, directory: Path, program: Program) -> None:
        self.directory = directory
        self._program = program
        self._running: subprocess.Popen[bytes] | None = None
        self._storage = directory / "storage"
        self._state = Path(tempfile.mkdtemp(prefix="podman-"))  # 50 bytes is all its path may have
        self.output = directory / "container.log"

    def command(self, name: str, *arguments: str | Path) -> list[str | Path]:
        """One of the two, where control groups are as both know them, whatever they are here."""
        mounts = 'mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"'
        storage = (f"--root={self._storage}", f"--runroot={self._state}", "--storage-driver=vfs")
        return [
            *("unshare", "--mount", "--propagation", "private", "sh", "-euc", mounts, "sh"),
            *(self._program(name), *storage),
            *arguments,
        ]

    def podman(self, *arguments: str | Path, code: int | None = 0) -> str:
        """Run podman; all it said."""
        return run(self.command("podman", *arguments), code=code)

    def build(self, wheels: Path) -> None:
        """The image of the Dockerfile, from these wheels and nothing else."""
        offline = self.directory / "pip.conf"
        offline.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
        build = ["build", "--isolation=chroot", "--format=docker", "--pull-never"]
        mounts = [f"--volume={wheels}:/wheels:ro", f"--volume={offline}:/etc/pip.conf:ro"]
        base = f"--build-arg=BASE={BASE}"
        run(self.command("buildah", *build, *mounts, base, f"--tag={IMAGE}", ROOT))

    def start(self, *mounts: str) -> None:
        """Run the image's own command."""
        arguments = ["run", "--rm", f"--name={NAME}", *RUN, *mounts, IMAGE]
        with self.output.open("wb") as stream:
            self._running = subprocess.Popen(
                self.command("podman", *arguments),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )
        self.wait_for(lambda: self.health() == 0, "a healthy container")

    def health(self) -> int:
        """The exit code of the image's HEALTHCHECK, in the container."""
        command = self.command("podman", "healthcheck", "run", NAME)
        return subprocess.run(command, capture_output=True, check=False).returncode

    def logged_at(self, event: str) -> float:
        """When the daemon logged an event, the last time."""
        lines = [line for line in self.output.read_text().splitlines() if line.startswith("{")]
        times = [one["timestamp"] for one in map(json.loads, lines) if one["event"] == event]
        return datetime.datetime.fromisoformat(times[-1]).timestamp()

    def inspected(self, name: str) -> int:
        """A number that podman knows of the running container's state."""
        return int(self.podman("inspect", f"--format={{{{.State.{name}}}}}", NAME))

    def megabytes(self, image: str) -> float:
        """The size of an image, unpacked."""
        return int(self.podman("image", "inspect", "--format={{.Size}}", image)) / 1e6

    def stop(self) -> int:
        """As an orchestrator does; the exit code."""
        assert self._running is not None
        self.podman("stop", NAME)
        running, self._running = self._running, None
        return running.wait(LONGEST_SECONDS)

    def end(self) -> None:
        """Leave nothing running and nothing stored."""
        if self._running is not None:
            self.podman("kill", NAME, code=None)
            self._running.wait(LONGEST_SECONDS)
        shutil.rmtree(self._storage, ignore_errors=True)
        shutil.rmtree(self._state)

    def wait_for(self, is_so: Callable[[], bool], what: str) -> None:
        """Poll until it is so."""
        deadline = time.monotonic() + LONGEST_SECONDS
        while not is_so():
            has_ended = self._running is not None and self._running.poll() is not None
            if has_ended or time.monotonic() > deadline:
                raise AssertionError(f"waited in vain for {what}:\n{self.output.read_text()}")
            threading.Event().wait(0.1)


@pytest.fixture
def engine(tmp_path: Path, program: Program) -> Iterator[Engine]:
    """With the image, if one can be built here."""
    for name in ("buildah", "podman"):
        program(name)
    one = Engine(tmp_path, program)
    with contextlib.ExitStack() as stack:
        stack.callback(one.end)
        archive = base_for(tmp_path, program)
        one.podman("import", "--quiet", archive, BASE)
        archive.unlink()
        one.build(wheels_for(tmp_path))
        yield one


def base_for(directory: Path, program: Program) -> Path:
    """A Debian with Python, as an archive."""
    tree, archive = directory / "tree", directory / "base.tar"
    tree.mkdir()
    debian(tree, program, *PACKAGES)
    unwanted = [f"--exclude={path}" for path in UNWANTED]
    run(["tar", "-C", tree, *unwanted, "-cf", archive, "."])
    shutil.rmtree(tree)
    return archive


def wheels_for(directory: Path) -> Path:
    """Everything that the image installs, made by this Debian's Python: the base has the same."""
    wheels, environment = directory / "wheels", directory / "environment"
    run(["/usr/bin/python3", "-m", "venv", environment])
    pinned = ("--quiet", f"--constraint={ROOT}/constraints.txt", f"--wheel-dir={wheels}")
    run([environment / "bin/pip", "wheel", *pinned, f"{ROOT}[crt]", "hatchling"])
    return wheels


def processes_beside(pid: int) -> dict[int, str]:
    """State by process, of those that share its process namespace."""
    wanted = os.stat(f"/proc/{pid}/ns/pid").st_ino
    found = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{name}/ns/pid").st_ino == wanted:
                found[int(name)] = status_of(int(name))["State"][0]
    return found


def status_of(pid: int) -> dict[str, str]:
    """What the kernel says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def assert_is_confined(pid: int) -> None:
    """Process 1, nobody special, nothing to write to but its state, and no child left over."""
    status = status_of(pid)
    assert status["NSpid"].split()[-1] == "1"
    assert status["Uid"].split() == [str(USER_ID)] * 4
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    options = {line.split()[4]: line.split()[5].split(",")[0] for line in lines}
    assert options["/"] == options["/var/log"] == options["/etc/shipper"] == "ro"
    assert options["/var/lib/shipper"] == "rw"
    assert "Z" not in processes_beside(pid).values()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_image_ships_as_nobody_special_from_a_read_only_root(
    engine: Engine, moto: Moto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs, etc = tmp_path / "logs", tmp_path / "etc"
    logs.mkdir()
    etc.mkdir()
    for name, body in LOGS.items():
        (logs / f"{name}.1").write_bytes(body)
    os.chown(logs / "own.log.1", USER_ID, USER_ID)  # it may ask for a lease; it is sealed at once
    os.chown(logs / "nginx.log.1", 0, ADM)  # as Debian has them; nobody knows who writes to it
    (logs / "nginx.log.1").chmod(0o640)
    mounts = (f"--volume={logs}:/var/log:ro", f"--volume={etc}:/etc/shipper:ro")
    moto.create_bucket(BUCKET)
    with MockImds(facts()) as imds:
        text = CONFIGURATION.format(bucket=BUCKET, s3=moto.url, imds=imds.url)
        (etc / "shipper.toml").write_text(text)
        engine.start(*mounts)
        ready = engine.logged_at("daemon.ready") - engine.inspected("StartedAt.UnixNano") / 1e9
        engine.wait_for(lambda: len(moto.keys(BUCKET)) == len(LOGS), "both logs in S3")
        assert_is_confined(engine.inspected("Pid"))
        assert engine.stop() == 0
        stopped = engine.logged_at("daemon.stopped") - engine.logged_at("daemon.stopping")
        unwell = engine.podman("run", "--rm", *RUN, *mounts, IMAGE, "check", "--health", code=1)
        assert "WRONG daemon: NotRunning" in unwell
        engine.start(*mounts)
        assert_is_confined(engine.inspected("Pid"))
        assert engine.stop() == 0
    objects = {key: decoded(key, body) for key, body in moto.objects(BUCKET).items()}
    assert sorted(objects.values()) == sorted(LOGS.values())
    assert all(INSTANCE_ID in key for key in objects)
    whole, base = (engine.megabytes(one) for one in (IMAGE, BASE))
    with capsys.disabled():
        print(
            f"\nimage {whole:.0f} MB, of which shipper {whole - base:.0f} MB;"
            f" READY {ready:.2f} s after its start; stopped in {stopped:.2f} s"
        )

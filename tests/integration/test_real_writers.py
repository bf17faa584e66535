"""Real programs write and rotate while the daemon runs: every line they logged is in S3 once."""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.machines.instance import Instance
from tests.machines.settling import Settling
from tests.machines.world import decoded
from tests.programs.programs import Counting, Nginx, Rsyslog, child, python_handler
from tests.programs.writer import line

Make = Callable[..., Instance]
Program = Callable[[str], str]
LIVE = re.compile(r"[a-z]+(\.log)?")
"""The names of the logs themselves; whatever else is there was rotated."""
ROTATIONS = 3
ENOUGH = 100
"""Lines, at least, and over all rotations."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def machine(instance: Make) -> Instance:
    """It runs already."""
    one = instance()
    one.start()
    return one


@pytest.fixture
def settling(machine: Instance) -> Settling:
    """Waits for everything that is not a live log."""
    return Settling(
        machine,
        lambda: [
            ("app", path) for path in machine.logs.iterdir() if not LIVE.fullmatch(path.name)
        ],
    )


def numbers(text: bytes) -> Counter[int]:
    """The numbers of the lines."""
    return Counter(int(found) for found in re.findall(rb"line[- ](\d{7})", text))


def shipped(machine: Instance, stem: str) -> Counter[int]:
    """The numbers of all lines in S3 of the logs with this stem."""
    objects = machine.moto.objects(machine.bucket).items()
    return numbers(b"".join(decoded(key, body) for key, body in objects if f"/{stem}." in key))


def shipped_or_live(machine: Instance, name: str) -> Counter[int]:
    """The same, and those of the live log of that name."""
    return shipped(machine, name) + numbers((machine.logs / name).read_bytes())


def of_debian(package: str, replaced: dict[str, str]) -> str:
    """The logrotate file of a package, with other paths, and signals instead of services."""
    text = Path(f"/etc/logrotate.d/{package}").read_text()
    for old, new in replaced.items():
        assert old in text, f"{package}'s logrotate file is another one: {old} is not in it"
        text = text.replace(old, new)
    return text


class Rotator:
    """The real logrotate with one configuration."""

    def __init__(self, program: str, work: Path, text: str) -> None:
        configuration = work / "logrotate.conf"
        configuration.write_text(f"create\n{text}")  # as in /etc/logrotate.conf
        configuration.chmod(0o600)
        self._arguments = [program, "-f", "-s", str(work / "state"), str(configuration)]

    def rotate(self) -> None:
        subprocess.run(self._arguments, check=True)


@as_root
@pytest.mark.system
def test_nginx_with_its_debian_logrotate_file(
    machine: Instance, settling: Settling, program: Program, logrotate: str, tmp_path: Path
) -> None:
    """It goes on writing into the renamed file until its workers have seen USR1."""
    nginx = Nginx(program("nginx"), tmp_path, machine.logs)
    signalled = {
        "/var/log/nginx": str(machine.logs),
        "invoke-rc.d nginx rotate": f"kill -USR1 $(cat {nginx.pid_file})",
    }
    rotator = Rotator(logrotate, tmp_path, of_debian("nginx", signalled))
    with child(*nginx.arguments, said=tmp_path / "nginx.txt"):
        machine.wait_for(nginx.is_up, "nginx")
        with Counting(nginx.ask) as asking:
            for _ in range(ROTATIONS):
                rotator.rotate()
                settling.wait()
            machine.wait_for(lambda: asking.count > ENOUGH, "requests")
            asked = Counter(range(asking.stop()))
        machine.wait_for(
            lambda: shipped_or_live(machine, "access.log") >= asked, "the last requests' lines"
        )
        rotator.rotate()
        settling.wait()
    assert shipped(machine, "access.log") == asked


@pytest.mark.system
def test_rsyslog_with_its_debian_logrotate_file(
    machine: Instance, settling: Settling, program: Program, logrotate: str, tmp_path: Path
) -> None:
    rsyslog = Rsyslog(program("rsyslogd"), tmp_path, machine.logs)
    signalled = {
        "/var/log/": f"{machine.logs}/",
        "/usr/lib/rsyslog/rsyslog-rotate": f"kill -HUP $(cat {rsyslog.pid_file})",
    }
    rotator = Rotator(logrotate, tmp_path, of_debian("rsyslog", signalled))
    with child(*rsyslog.arguments, said=tmp_path / "rsyslog.txt"):
        machine.wait_for(rsyslog.is_up, "rsyslog")
        with Counting(rsyslog.say) as saying:
            for _ in range(ROTATIONS):
                rotator.rotate()
                settling.wait()
            machine.wait_for(lambda: saying.count > ENOUGH, "lines")
            said = saying.stop()
        rsyslog.hang_up()
        every = Counter(range(said))
        machine.wait_for(lambda: shipped_or_live(machine, "syslog") >= every, "the last lines")
        rotator.rotate()
        settling.wait()
    assert shipped(machine, "syslog") == every
    assert shipped(machine, "mail.log") == Counter(range(0, said, 2))
    assert shipped(machine, "user.log") == Counter(range(1, said, 2))


@pytest.mark.system
def test_pythons_two_handlers_each_in_a_process_of_its_own(
    machine: Instance, settling: Settling, tmp_path: Path
) -> None:
    sized, timed = machine.logs / "sized.log", machine.logs / "timed.log"
    with (
        child(*python_handler("sized", sized), said=tmp_path / "sized.txt") as one,
        child(*python_handler("timed", timed), said=tmp_path / "timed.txt") as other,
    ):

        def say(number: int) -> None:
            for running in (one, other):
                assert running.stdin is not None
                running.stdin.write(b"line %07d\n" % number)

        with Counting(say) as saying:
            machine.wait_for(
                lambda: all(
                    len(list(machine.logs.glob(f"{name}.log.*"))) > ROTATIONS
                    for name in ("sized", "timed")
                ),
                "rotations",
            )
            said = Counter(range(saying.stop()))
        for running in (one, other):
            running.communicate(timeout=30)
            assert running.returncode == 0
    settling.wait()
    assert shipped_or_live(machine, "sized.log") == said
    assert shipped_or_live(machine, "timed.log") == said


@pytest.mark.system
@pytest.mark.lengthy
def test_log4j_which_compresses_and_then_deletes(
    machine: Instance, settling: Settling, tmp_path: Path
) -> None:
    """Quick archives are shipped instead of the log, slow ones are copies of it."""
    command = (sys.executable, "-m", "tests.programs.roller", str(machine.logs / "app.log"))
    answers = tmp_path / "roller.txt"
    told = 0
    with child(*command, said=answers) as running:

        def tell(*commands: str) -> None:
            nonlocal told
            assert running.stdin is not None
            running.stdin.write("".join(f"{command}\n" for command in commands).encode())
            told += len(commands)
            machine.wait_for(lambda: len(answers.read_bytes().splitlines()) == told, "an answer")

        for number in range(3):
            tell("write 700", "roll", "compress", "write 500", "roll", "half")
            machine.wait_until_shipped(2 * number + 2)
            tell("finish")
        settling.wait()
    assert (machine.files("DONE"), machine.files("DUPLICATE")) == (6, 3)
    lines = b"".join(machine.contents()).splitlines(keepends=True)
    assert sorted(lines) == [line("app", number) for number in range(3600)]


@pytest.mark.system
def test_rotatelogs_whose_live_log_has_a_rotated_name_and_may_have_a_hard_link(
    machine: Instance, settling: Settling, program: Program, tmp_path: Path
) -> None:
    """The log that ``-L`` links to is refused while it is linked: as long as it is live."""
    rotatelogs = program("rotatelogs")
    plain, linked = machine.logs / "plain.log", machine.logs / "linked.log"
    current = machine.logs / "current"
    with (
        child(rotatelogs, str(plain), "1", said=tmp_path / "plain.txt") as one,
        child(
            rotatelogs, "-L", str(current), str(linked), "1", said=tmp_path / "linked.txt"
        ) as other,
    ):

        def say(number: int) -> None:
            for running in (one, other):
                assert running.stdin is not None
                running.stdin.write(b"line %07d\n" % number)

        with Counting(say) as saying:
            machine.wait_for(
                lambda: len(list(machine.logs.glob("*.log.*"))) > 2 * ROTATIONS, "rotations"
            )
            said = Counter(range(saying.stop()))
        for running in (one, other):
            running.communicate(timeout=30)
            assert running.returncode == 0
    left = numbers(current.read_bytes())
    machine.wait_for(
        lambda: shipped(machine, "linked.log") == said - left, "all but the linked log"
    )
    current.unlink()
    settling.wait()
    assert shipped(machine, "plain.log") == said
    assert shipped(machine, "linked.log") == said
    assert {refused["code"] for refused in machine.events("candidate.refused")} == {"HardLinked"}

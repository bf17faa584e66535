"""Names as programs and rotators give them: what is finished is shipped, and nothing else is."""

import datetime
import os
from collections.abc import Callable

import pytest

from tests.machines.instance import Instance

pytestmark = pytest.mark.system
Make = Callable[..., Instance]

ROTATED = (
    *("app.log.2024-17", "app.log.2024-03-01-PM", "audit20240301.txt", "audit20240301_002.txt"),
    *("@400000005f0e1d2c3b4a5968.s", "http.09:00:00-10:00:00.log.gz", "2024-03-01-09-core1.log"),
    *("20240301-0930-02-app.log", "node20240301093000.log", "x.log-2024-03-01-2024030109.backup"),
    *("mail.log.old", "job.log2", "7.log.20240301-093000", "app-2024-03-01T09-30-00.123.log"),
    *("catalina.2024-03-01.log", "error.log-20240301", "a.log.3.xz", "b.log.1.zst", "c.log.1.lz4"),
)
LIVE = (
    *(
        "python3.12.log",
        "worker-3.log",
        "unicorn-1.log",
        "Xorg.1.log",
        "node.20.log",
        "php8.3.log",
    ),
    *("db-02.log", "gc0.log", "postgresql-16.log", "0.log", "tomcat9.log", "kafka-2.log"),
)


def test_finished_names_are_shipped_and_live_ones_are_not(instance: Make) -> None:
    machine = instance()
    for name in (*ROTATED, *LIVE):
        machine.write(name, name.encode())
    machine.start()
    machine.wait_until_shipped(len(ROTATED))
    wait_for_scans(machine, 4)
    stored = machine.moto.objects(machine.bucket).values()
    assert machine.files("DONE") == len(ROTATED)
    assert len(stored) == len(ROTATED)


def append_in_pauses(machine: Instance, name: str, times: int = 4) -> None:
    """As a program that opens, writes and closes; each pause is longer than the quiet time."""
    path = machine.logs / name
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in range(times):
        with path.open("ab") as log:
            log.write(b"line %d\n" % number)
        wait_for_scans(machine, scans(machine) + 3)


def scans(machine: Instance) -> int:
    return int((machine.status() or {})["scan"]["scans"])


def wait_for_scans(machine: Instance, count: int) -> None:
    machine.wait_for(lambda: scans(machine) >= count, f"{count} scans")


def test_a_log_with_todays_date_is_live_and_one_of_a_past_day_is_shipped(instance: Make) -> None:
    today = datetime.datetime.now(datetime.UTC).date()
    past, now = today - datetime.timedelta(days=3), today + datetime.timedelta(days=1)
    machine = instance()
    machine.start()
    machine.write(f"site-{past}.log", b"past\n")
    machine.write(f"remote/{past:%Y%m%d}/10.0.0.9/daemon.log", b"host\n")
    append_in_pauses(machine, f"site-{now}.log")
    append_in_pauses(machine, f"remote/{now:%Y%m%d}/10.0.0.9/daemon.log")
    machine.wait_until_shipped(2)
    assert sorted(machine.contents()) == [b"host\n", b"past\n"]
    assert machine.ask("/healthz") == "ok\n"


def test_what_live_names_is_live_whatever_its_name_looks_like(instance: Make) -> None:
    machine = instance(watch='live = ["job-*.log.1"]')
    machine.start()
    append_in_pauses(machine, "job-7.log.1")
    machine.write("other.log.1", b"rotated\n")
    machine.wait_until_shipped(1)
    assert machine.contents() == [b"rotated\n"]


def test_live_logs_without_an_extension_go_along_when_asked_for(instance: Make) -> None:
    names = ("error_log", "syslog", "messages", "catalina.out", "secure", "app.log")
    machine = instance()
    for name in names:
        machine.write(name, name.encode())
        machine.write(f"{name}-20240301", b"old " + name.encode())
    machine.run("ship", "--live")
    assert {name.encode() for name in names} <= set(machine.contents())


def test_a_configuration_with_a_byte_order_mark_is_read(instance: Make) -> None:
    machine = instance()
    machine.config.write_bytes(b"\xef\xbb\xbf" + machine.config.read_bytes())
    assert "ok    configuration" in machine.run("check", "--offline")


@pytest.mark.parametrize("junk", ["\n", "\r\n", "\x00", "\u0085", " x", "\ud800"])
def test_a_session_token_with_a_character_that_no_header_holds_is_never_repeated(
    instance: Make, junk: str
) -> None:
    machine = instance()
    machine.imds.facts.document_members = {"Token": f"SENTINEL{junk}"}
    machine.write("app.log.1", b"a line\n")
    machine.start()
    machine.wait_for(lambda: "BadAnswer" in machine.ask("/healthz"), "the refusal")
    seen = [machine.log_text(), machine.ask("/status"), machine.ask("/metrics")]
    seen += [
        path.read_bytes().decode("latin-1")
        for path in (machine.directory / "state").iterdir()
        if path.is_file()
    ]
    assert [text for text in seen if "SENTINEL" in text] == []
    assert machine.contents() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a capability up")
def test_logs_that_may_not_be_read_are_counted_and_the_daemon_is_not_well(
    instance: Make, program: Callable[[str], str]
) -> None:
    machine = instance()
    gone = "-dac_override,-dac_read_search"
    machine.confined_by = [program("setpriv"), f"--bounding-set={gone}", f"--inh-caps={gone}"]
    for number in range(5):
        machine.write(f"app{number}.log.1", b"x").chmod(0)
    machine.write("good.log.1", b"good\n")
    machine.start()
    machine.wait_until_shipped(1)
    counted = 'shipper_refused_files{code="SourceUnreadable",watch="app"} 5.0'
    machine.wait_for(lambda: counted in machine.ask("/metrics"), "the count")
    assert "watch app: 5 files, such as app" in machine.ask("/healthz")
    for path in machine.logs.iterdir():
        path.chmod(0o600)
    machine.wait_until_shipped(6)
    machine.wait_for(lambda: machine.ask("/healthz") == "ok\n", "health")

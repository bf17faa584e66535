"""sd_notify over real sockets."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from shipper.edges.files.open_file import FileSource
from shipper.edges.systemd import (
    Notifier,
    SystemdStore,
    execute_anew,
    foreign_receiver,
    is_machine_stopping,
    received_descriptors,
    store_limit,
)


@dataclass
class ServiceManager:
    """systemd's end of the socket."""

    socket: socket.socket
    address: str

    def heard(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest) -> Iterator[ServiceManager]:
    with (
        tempfile.TemporaryDirectory(prefix="sd") as directory,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listener,
    ):
        address = f"{directory}/notify" if request.param == "path" else f"@shipper-{uuid4()}"
        listener.bind(address.replace("@", "\0", 1))
        yield ServiceManager(listener, address)


def test_every_message_reaches_the_service_manager(manager: ServiceManager) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.address})
    notifier.ready()
    notifier.watchdog()
    notifier.status("3 files wait")
    notifier.stopping()
    assert manager.heard() == ["READY=1", "WATCHDOG=1", "STATUS=3 files wait", "STOPPING=1"]


def test_a_reload_says_when_it_began_and_how_long_what_is_going_on_may_take(
    manager: ServiceManager,
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.address})
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    notifier.extend(2.5)
    [reloading, extended] = manager.heard()
    first, _, second = reloading.partition("\n")
    assert first == "RELOADING=1"
    name, _, microseconds = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(microseconds) <= time.monotonic_ns() // 1000
    assert extended == "EXTEND_TIMEOUT_USEC=2500000"


def test_a_status_is_sent_when_it_is_a_new_one(manager: ServiceManager) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.address})
    for text in ("idle", "idle", "busy", "idle"):
        notifier.status(text)
    assert manager.heard() == ["STATUS=idle", "STATUS=busy", "STATUS=idle"]


def test_what_was_not_delivered_is_said(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    notifier = Notifier({"NOTIFY_SOCKET": address})
    assert not notifier.ready()
    notifier.status("idle")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listener:
        listener.bind(address)
        assert notifier.ready()
        notifier.status("idle")
        assert ServiceManager(listener, address).heard() == ["READY=1", "STATUS=idle"]


def test_a_status_stays_on_its_line_whatever_is_in_it(manager: ServiceManager) -> None:
    """A line break would begin another assignment; a name need not be UTF-8."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.address})
    notifier.status("caf\udce9.log\nREADY=1")
    assert manager.heard() == ["STATUS=caf?.log READY=1"]


def test_waiting_for_a_busy_service_manager_is_no_work(
    manager: ServiceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unconnected socket is always called writable: the wait was a loop that took a core."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.address})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as stuffing:
        stuffing.connect(manager.address.replace("@", "\0", 1))
        with contextlib.suppress(BlockingIOError):
            while True:
                stuffing.send(b"STATUS=busy")
    monkeypatch.setattr("shipper.edges.systemd.LONGEST_SECONDS", 0.5)
    spent = time.thread_time()
    notifier.watchdog()
    assert time.thread_time() - spent < 0.1
    assert set(manager.heard()) == {"STATUS=busy"}


def test_without_a_service_manager_nothing_happens() -> None:
    notifier = Notifier({})
    notifier.ready()
    notifier.status("idle")
    assert notifier.watchdog_interval_seconds == 0.0


@pytest.mark.parametrize("address", ["/nonexistent/notify", "vsock:2:1234", "@", "/" + "x" * 200])
def test_a_service_manager_that_cannot_be_reached_is_no_error(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address})
    notifier.ready()
    notifier.stopping()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": ""}, 30.0),
        ({"WATCHDOG_USEC": ""}, 0.0),
        ({"WATCHDOG_USEC": "-1"}, 0.0),
        ({"WATCHDOG_USEC": "²"}, 0.0),
    ],
)
def test_the_watchdog_is_asked_for_by_microseconds_and_pid(
    environment: dict[str, str], seconds: float
) -> None:
    assert Notifier(environment).watchdog_interval_seconds == seconds


@pytest.fixture
def asked(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """An environment whose systemctl is this script."""

    def make(script: str) -> dict[str, str]:
        program = tmp_path / "systemctl"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    return make


Asked = Callable[[str], dict[str, str]]


@pytest.mark.parametrize(
    ("state", "is_stopping"), [("stopping", True), ("running", False), ("degraded", False)]
)
def test_the_machine_stops_when_systemd_says_so(
    asked: Asked, tmp_path: Path, state: str, is_stopping: bool
) -> None:
    environment = asked(f'[ "$1" = is-system-running ] && echo {state}; exit 1')
    nologin = tmp_path / "nologin"
    nologin.touch()
    assert is_machine_stopping(environment, str(nologin)) is is_stopping


@pytest.mark.parametrize("script", ["exit 1", "echo offline", "exec sleep 30"])
def test_where_systemd_does_not_answer_the_file_that_keeps_users_out_tells(
    asked: Asked, tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shipper.edges.systemd._ASKING_SECONDS", 0.3)
    environment = asked(script)
    nologin = tmp_path / "nologin"
    assert not is_machine_stopping(environment, str(nologin))
    nologin.touch()
    assert is_machine_stopping(environment, str(nologin))


def test_without_systemctl_the_file_tells_too(tmp_path: Path) -> None:
    assert not is_machine_stopping({"PATH": str(tmp_path)}, str(tmp_path / "nologin"))


# The descriptor store.


@pytest.fixture
def source(tmp_path: Path) -> Iterator[FileSource]:
    path = tmp_path / "app.log.1"
    path.write_bytes(b"a line\n")
    opened = FileSource(os.open(path, os.O_RDONLY), "a log")
    yield opened
    opened.close()


def test_a_descriptor_is_sent_with_its_name_and_removed_by_it(
    manager: ServiceManager, source: FileSource
) -> None:
    store = SystemdStore(Notifier({"NOTIFY_SOCKET": manager.address}))
    store.put("shipment-1-a", source)
    message, [received], _, _ = socket.recv_fds(manager.socket, 4096, 4)
    assert message == b"FDSTORE=1\nFDNAME=shipment-1-a\nFDPOLL=0"
    assert os.path.sameopenfile(received, source.fileno())
    os.close(received)
    assert store.descriptors() == {"shipment-1-a": source.fileno()}
    store.remove("shipment-1-a")
    assert manager.heard() == ["FDSTOREREMOVE=1\nFDNAME=shipment-1-a"]
    assert store.descriptors() == {}


def test_what_could_not_be_told_is_told_with_a_later_change(
    source: FileSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is there at first: that costs one try, and not one for each file."""
    monkeypatch.setattr("shipper.edges.systemd.SILENT_SECONDS", 3600.0)
    address = str(tmp_path / "notify")
    store = SystemdStore(Notifier({"NOTIFY_SOCKET": address}))
    store.put("shipment-1-a", source)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listener:
        listener.bind(address)
        heard = ServiceManager(listener, address).heard
        store.put("shipment-2-b", source)
        store.remove("shipment-1-a")
        assert heard() == []
        store._silent_until = 0.0
        store.put("shipment-3-c", source)
        assert [message.splitlines()[:2] for message in heard()] == [
            ["FDSTOREREMOVE=1", "FDNAME=shipment-1-a"],
            ["FDSTORE=1", "FDNAME=shipment-2-b"],
            ["FDSTORE=1", "FDNAME=shipment-3-c"],
        ]


def names_in(messages: list[str]) -> list[str]:
    """What was stored, and with a minus what was removed."""
    signs = {"FDSTORE=1": "", "FDSTOREREMOVE=1": "-"}
    lines = [message.splitlines() for message in messages]
    return [signs[first] + name.removeprefix("FDNAME=") for first, name, *_ in lines]


def test_no_more_is_offered_than_systemd_keeps_and_the_next_when_one_is_removed(
    manager: ServiceManager, source: FileSource
) -> None:
    """systemd closes what is beyond its limit without a word."""
    store = SystemdStore(Notifier({"NOTIFY_SOCKET": manager.address}), most=2)
    for number in range(4):
        store.put(f"s{number}", source)
    assert names_in(manager.heard()) == ["s0", "s1"]
    store.remove("s3")
    assert names_in(manager.heard()) == ["-s3"]
    store.remove("s0")
    assert names_in(manager.heard()) == ["-s0", "s2"]


def test_the_next_program_tells_what_this_one_could_not(
    manager: ServiceManager, source: FileSource
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.address})
    store = SystemdStore(notifier, most=1)
    store.put("s0", source)
    store.put("s1", source)
    passed = store.descriptors()
    assert list(passed) == ["s0", "untold.s1"]
    following = SystemdStore(notifier, passed, most=1)
    assert [name for name, _ in following.kept()] == ["s0", "s1"]
    manager.heard()
    following.flush()
    assert manager.heard() == []
    following.remove("s0")
    assert names_in(manager.heard()) == ["-s0", "s1"]


def test_what_could_not_be_told_is_told_without_another_change(
    source: FileSource, tmp_path: Path
) -> None:
    address = str(tmp_path / "notify")
    store = SystemdStore(Notifier({"NOTIFY_SOCKET": address}))
    store.put("s0", source)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listener:
        listener.bind(address)
        store.flush()
        heard = ServiceManager(listener, address).heard
        assert heard() == [], "one try a minute"
        store._silent_until = 0.0
        store.flush()
        assert names_in(heard()) == ["s0"]
        store.flush()
        assert heard() == []


@pytest.mark.parametrize(
    ("environment", "most"),
    [({"FDSTORE": "2000"}, 2000), ({}, 256), ({"FDSTORE": "many"}, 256), ({"FDSTORE": "0"}, 0)],
)
def test_systemd_says_how_much_it_keeps(environment: dict[str, str], most: int) -> None:
    assert store_limit(environment) == most


def test_without_a_service_manager_what_is_put_is_for_the_next_program_alone(
    source: FileSource,
) -> None:
    store = SystemdStore(Notifier({}))
    store.put("shipment-1-a", source)
    assert store.descriptors() == {"shipment-1-a": source.fileno()}
    assert list(store.kept()) == []
    assert not store._untold


def listening(**changed: str) -> dict[str, str]:
    """What sd_listen_fds(3) sets, for this process, with the rest of an environment."""
    given = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "one:two"}
    return {"PATH": "/bin"} | given | changed


@pytest.fixture
def first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[int]:
    """Where descriptors begin that were passed to this process: a log, another, and a pipe."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    opened = [os.open(tmp_path / name, os.O_RDONLY) for name in ("one", "two")]
    opened += os.pipe()
    begin = 900
    for number, descriptor in enumerate(opened):
        os.dup2(descriptor, begin + number)
        os.close(descriptor)
    monkeypatch.setattr("shipper.edges.systemd.FIRST", begin)
    yield begin
    for number in range(len(opened)):
        with contextlib.suppress(OSError):
            os.close(begin + number)


def test_what_was_passed_is_received_once_and_no_child_gets_it(first: int) -> None:
    environment = listening()
    assert received_descriptors(environment) == {"one": first, "two": first + 1}
    assert not os.get_inheritable(first)
    assert not os.get_inheritable(first + 1)
    assert environment == {"PATH": "/bin"}
    assert received_descriptors(environment) == {}


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"LISTEN_PID": "1"}, []),
        ({"LISTEN_PID": ""}, []),
        ({"LISTEN_FDS": ""}, []),
        ({"LISTEN_FDS": "-1"}, []),
        ({"LISTEN_FDS": "\u00b2"}, []),
        ({"LISTEN_FDS": "9" * 5000}, []),
        ({"LISTEN_FDS": "1"}, ["one"]),
        ({"LISTEN_FDNAMES": ""}, []),
        ({"LISTEN_FDNAMES": "one"}, ["one"]),
        ({"LISTEN_FDNAMES": ":two"}, ["two"]),
        ({"LISTEN_FDNAMES": "one:one"}, ["one"]),
    ],
)
def test_what_is_not_as_the_protocol_says_is_left_alone(
    first: int, changed: dict[str, str], names: list[str]
) -> None:
    environment = listening(**changed)
    assert list(received_descriptors(environment)) == names
    assert environment == {"PATH": "/bin"}
    os.fstat(first + 2)


def is_open(descriptor: int) -> bool:
    return os.path.exists(f"/proc/self/fd/{descriptor}")


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"LISTEN_FDS": "4", "LISTEN_FDNAMES": "one:two:a-pipe:its-end"}, ["one", "two"]),
        ({"LISTEN_FDS": "4", "LISTEN_FDNAMES": "one"}, ["one"]),
        ({"LISTEN_FDS": "4", "LISTEN_FDNAMES": "one:one"}, ["one"]),
        ({"LISTEN_FDS": "4", "LISTEN_FDNAMES": ""}, []),
        ({"LISTEN_FDS": "999999", "LISTEN_FDNAMES": ":".join("abcdefgh")}, ["a", "b"]),
    ],
)
def test_what_was_passed_and_is_not_taken_is_closed(
    first: int, changed: dict[str, str], names: list[str]
) -> None:
    taken = received_descriptors(listening(**changed))
    assert list(taken) == names
    left = [number for number in range(first, first + 4) if is_open(number)]
    assert left == list(taken.values())


def test_what_was_passed_to_another_process_is_no_childs_either(first: int) -> None:
    environment = listening(LISTEN_PID="1")
    os.set_inheritable(first, True)
    assert foreign_receiver(environment) == "1"
    assert received_descriptors(environment) == {}
    assert not os.get_inheritable(first)
    assert foreign_receiver(listening()) == ""


PROGRAM = """
import os, signal, sys
sys.path[:0] = {path!r}
from shipper.edges.systemd import execute_anew, received_descriptors
received = received_descriptors(os.environ)
if not received:
    numbers = {numbers!r}
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    for number, at in enumerate(numbers):
        opened = os.memfd_create("log")
        os.write(opened, b"%d" % number)
        os.dup2(opened, at + 100, inheritable=False)
        os.close(opened)
    for at in numbers:
        os.dup2(at + 100, at, inheritable=False)
        os.close(at + 100)
    os.kill(os.getpid(), signal.SIGTERM)
    print(os.getpid(), flush=True)
    execute_anew({{f"name-{{n}}": at for n, at in enumerate(numbers)}}, os.environ)
print(os.getpid())
print({{name: os.pread(at, 9, 0).decode() for name, at in received.items()}})
print(sorted(int(name) for name in os.listdir("/proc/self/fd"))[: len(received) + 3])
print(signal.SIGTERM in signal.sigpending(), os.environ.get("KEPT"), *sys.argv[1:])
"""


@pytest.mark.parametrize(
    "numbers",
    [[3, 4, 5, 6], [6, 5, 4, 3], [4, 3], [5, 3, 40, 4], [40, 41, 42], [7, 3, 8, 4, 5]],
    ids=str,
)
def test_a_program_executes_itself_with_its_descriptors_and_pending_signals(
    numbers: list[int], tmp_path: Path
) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.format(path=sys.path, numbers=numbers))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), "--an", "argument"],
        env=os.environ | {"KEPT": "kept"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, after, contents, opened, rest = done.stdout.splitlines()
    assert before == after
    assert contents == str({f"name-{n}": str(n) for n in range(len(numbers))})
    assert opened == str(list(range(len(numbers) + 3)))
    assert rest == "True kept --an argument"


def test_a_program_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(FileNotFoundError):
        execute_anew({}, {})

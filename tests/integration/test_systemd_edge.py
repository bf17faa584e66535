"""sd_notify over real sockets."""

import contextlib
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from shipper.edges.systemd import Notifier, is_machine_stopping


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
    monkeypatch.setattr("shipper.edges.systemd.PATIENCE_SECONDS", 0.5)
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

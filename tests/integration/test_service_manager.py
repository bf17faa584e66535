"""What the main thread tells systemd where systemd does not listen at once."""

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shipper.daemon.service_manager import ServiceManager
from shipper.edges.systemd import Notifier
from shipper.reports.http import Listeners, fetch, socket_path
from tests.machines.inside import Inside
from tests.machines.instance import Instance

Make = Callable[..., Instance]


def test_that_it_is_ready_is_said_until_it_was_heard(
    instance: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = Inside(instance())
    workers = inside.running()
    address = str(tmp_path / "notify")
    store = inside.services.ports.descriptor_store
    manager = ServiceManager(Notifier({"NOTIFY_SOCKET": address}), store, workers)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    manager.ready()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listener:
        now += 2
        manager.tell(is_in_between=False)  # nobody is there
        listener.bind(address)
        heard = []
        for _ in range(2):
            now += 2
            manager.tell(is_in_between=False)
        while True:
            try:
                heard.append(listener.recv(4096).decode().partition("=")[0])
            except BlockingIOError:
                break
    assert heard == ["READY", "WATCHDOG", "STATUS", "WATCHDOG"]
    inside.services.close()


def test_a_report_that_meets_a_bug_is_told_as_one_and_ends_neither_daemon_nor_server(
    instance: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = Inside(instance())
    workers, services = inside.running(), inside.services
    monkeypatch.setattr(services.journal.figures, "totals", lambda: 1 // 0)
    address = str(tmp_path / "notify")
    store = services.ports.descriptor_store
    manager = ServiceManager(Notifier({"NOTIFY_SOCKET": address}), store, workers)
    listeners = Listeners(services, workers.report, {})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listener:
        listener.bind(address)
        manager.tell(is_in_between=False)
        heard = [listener.recv(4096).decode() for _ in range(2)]
    assert heard[1].startswith("STATUS=Bug: ZeroDivisionError")
    path = socket_path(services.configuration.state_directory, {})
    assert fetch(path, "/healthz").startswith("Bug: ZeroDivisionError")
    assert services.bugs.count == 2
    listeners.close()
    services.close()

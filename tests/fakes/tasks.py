"""Futures that are over, and tasks that need no journal."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from shipper.journal.journal import Journal
from shipper.services.sending.tasks import Blocking, Task

T = TypeVar("T")


def finished(call: Callable[[], T]) -> Future[T]:
    """What the call returned or raised; what ends a process gets out."""
    future: Future[T] = Future()
    try:
        future.set_result(call())
    except Exception as error:  # noqa: BLE001  (raised where it is awaited)
        future.set_exception(error)
    return future


def run(task: Task[T], stopping: threading.Event | None = None) -> T:
    """Carry the task to its end."""
    waits = (stopping or threading.Event()).wait
    return Blocking(journal=Journal.in_memory(), wait=waits, moved=lambda: None).run(task)

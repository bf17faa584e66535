"""A real daemon's parts in the test's own process: what a child does not let anybody reach."""

import json
from collections.abc import Mapping
from functools import partial
from io import StringIO
from typing import Any, NoReturn

from shipper.config.load import load
from shipper.daemon.daemon import STALLED_SECONDS, Daemon
from shipper.daemon.reload import changes
from shipper.daemon.workers import Notice, Workers
from shipper.edges.systemd import Notifier
from shipper.runtime.logs import Redactor, make_logger
from shipper.runtime.wiring import build
from tests.machines.instance import Instance


class Inside:
    """The services of an instance's configuration, their log, and the workers."""

    def __init__(self, machine: Instance) -> None:
        self._machine = machine
        self._output = StringIO()
        self._redactor = Redactor()
        self.notices: list[Notice] = []
        self.unfit = ""
        """Why the program on disk would not start."""
        self.executed: list[dict[str, int]] = []
        """The descriptors that each next program was to receive; there is none."""
        self.services = build(
            load(str(machine.config), {}),
            environment=machine.environment,
            log=make_logger("info", "json", self._output, self._redactor),
            redactor=self._redactor,
        )

    def running(self, stalled_seconds: float = STALLED_SECONDS) -> Workers:
        """The workers, without a main thread."""
        return Workers(self.services, tell=self.notices.append, stalled_seconds=stalled_seconds)

    def daemon(
        self,
        environment: dict[str, str] | None = None,
        stalled_seconds: float = STALLED_SECONDS,
    ) -> Daemon:
        """The daemon; ``environment`` is what its service manager gave it."""
        return Daemon(
            self.services,
            notifier=Notifier(environment or {}),
            environment=environment or {},
            load=partial(load, str(self._machine.config), {}),
            rehearse=lambda: self.unfit,
            execute=self._executed,
            stalled_seconds=stalled_seconds,
        )

    def changes(self) -> list[str]:
        """What a reload would take up."""
        read = partial(load, str(self._machine.config), {})
        return changes(self.services, read, {}, lambda address: None, lambda: self.unfit)

    def _executed(self, descriptors: Mapping[str, int]) -> NoReturn:
        self.executed.append(dict(descriptors))
        raise FileNotFoundError("no program")

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log records of one event."""
        records = [json.loads(line) for line in self._output.getvalue().splitlines()]
        return [record for record in records if record["event"] == name]

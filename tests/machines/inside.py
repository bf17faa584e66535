"""A real daemon's parts in the test's own process: what a child does not let anybody reach."""

import json
from functools import partial
from io import StringIO
from typing import Any

from shipper.config.load import load
from shipper.daemon.daemon import STALLED_SECONDS, Daemon
from shipper.daemon.reload import successor
from shipper.daemon.workers import Notice, Workers
from shipper.edges.systemd import Notifier
from shipper.runtime.logs import Redactor, make_logger
from shipper.runtime.wiring import build
from tests.machines.instance import Instance


class Inside:
    """The house of an instance's configuration, its log, and who works in it."""

    def __init__(self, machine: Instance) -> None:
        self._machine = machine
        self._output = StringIO()
        self._redactor = Redactor()
        self.notices: list[Notice] = []
        self.services = build(
            load(str(machine.config), {}),
            environment=machine.environment,
            log=make_logger("info", "json", self._output, self._redactor),
            redactor=self._redactor,
        )

    def running(self, stalled_seconds: float = STALLED_SECONDS) -> Workers:
        """The house at work, without a main thread."""
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
            succeed=partial(
                successor,
                path=str(self._machine.config),
                environment=self._machine.environment,
                redactor=self._redactor,
            ),
            stalled_seconds=stalled_seconds,
        )

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log records of one event."""
        records = [json.loads(line) for line in self._output.getvalue().splitlines()]
        return [record for record in records if record["event"] == name]

"""Commands in the test's own process, where their coverage is seen."""

import json
import os
import sys
import threading

import pytest

from shipper.cli.main import main
from tests.machines.instance import Instance


class Here:
    """Runs commands in this process, where their coverage is seen."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        for module in (sys, threading):  # commands with a log take these over
            monkeypatch.setattr(module, "excepthook", module.excepthook)
        for name in list(os.environ):
            if name.startswith(("AWS_", "SHIPPER_CONFIG", "RUNTIME_DIR", "STATE_DIR")):
                monkeypatch.delenv(name)

    def run(self, machine: Instance, *arguments: str, code: int | None = 0) -> str:
        for name, value in machine.environment.items():
            self._monkeypatch.setenv(name, value)
        found = main([arguments[0], "--config", str(machine.config), *arguments[1:]])
        out, error = self._capsys.readouterr()
        assert code is None or found == code, out + error
        return out + error

    def json(self, machine: Instance, *arguments: str, code: int = 0) -> dict[str, object]:
        document: dict[str, object] = json.loads(
            self.run(machine, *arguments, "--json", code=code)
        )
        return document

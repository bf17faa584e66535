"""Somebody with credentials of their own, who runs the commands that read, in this process."""

import json
import os
from pathlib import Path

import pytest

from shipper.cli.main import main
from shipper.config import rules
from tests.machines.fleet import Archive, Host
from tests.machines.schemas import broken

Findings = set[tuple[str, str, str]]


class Auditor:
    """Of one bucket; each command must end with ``code``."""

    def __init__(
        self,
        archive: Archive,
        captured: pytest.CaptureFixture[bytes],
        patch: pytest.MonkeyPatch,
        *,
        slack_seconds: float,
    ) -> None:
        self._where = ["--bucket", archive.bucket, "--endpoint-url", archive.moto.url]
        self._captured = captured
        self._patch = patch
        self._slack = f"{slack_seconds}s"
        for name in list(os.environ):
            if name.startswith(("AWS_", "SHIPPER_CONFIG")):
                patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_CONFIG_FILE", "/nowhere")
        patch.setattr(rules, "LEAST_INTERVAL_SECONDS", 0.2)  # as for the daemons

    def run(self, *words: str, code: int) -> tuple[bytes, str]:
        """What it writes."""
        found = main([*words])
        out, error = self._captured.readouterr()
        assert found == code, (out[-5000:], error)
        return out, error.decode()

    def manifests(self, *words: str, code: int) -> Findings:
        """Code, instance and key of all that the audit by manifests finds."""
        how = ("--manifests", "--slack", self._slack, "--content", "100%", "--json")
        document = json.loads(self.run("audit", *self._where, *how, *words, code=code)[0])
        assert broken("audit-manifests", document) == []
        found = [(one["code"], one["instance"], one["key"]) for one in document["findings"]]
        assert len(found) == len({*found})
        return {*found}

    def fleet(self, *words: str, code: int) -> dict[str, tuple[str, bool]]:
        """The state of each instance, and whether it needs somebody."""
        document = json.loads(self.run("fleet", *self._where, "--json", *words, code=code)[0])
        assert broken("fleet", document) == []
        assert (document["unexpected"], document["other_objects"]) == ([], 0)
        rows = document["instances"]
        assert not any(one["late"] or one["problem"] for one in rows)
        return {one["instance"]: (one["state"], one["needs_somebody"]) for one in rows}

    def host(self, host: Host, *, code: int) -> list[tuple[str, str]]:
        """What the audit on this host finds: kind and name."""
        for name, value in host.machine.environment.items():
            self._patch.setenv(name, value)
        words = ("audit", "--config", str(host.machine.config), "--json")
        document = json.loads(self.run(*words, code=code)[0])
        assert broken("audit", document) == []
        assert (document["problems"], document["instance"]) == ([], host.id)
        return [(one["kind"], one["name"]) for one in document["findings"]]

    def cat(self, host: Host, *, code: int) -> tuple[bytes, str]:
        """All logs of this host, and what is said of them."""
        return self.run("cat", *self._where, "--instance", host.id, code=code)

    def fetch(self, host: Host, into: Path, *, code: int) -> tuple[list[bytes], str]:
        """The same as files, by the time of their last write."""
        words = ("--instance", host.id, "--into", str(into))
        _, said = self.run("fetch", *self._where, *words, code=code)
        files = [path for path in (into / host.id).rglob("*") if path.is_file()]
        files.sort(key=lambda path: path.stat().st_mtime_ns)
        return [path.read_bytes() for path in files if path.suffix != ".partial"], said

"""``key = "hive"`` with a real daemon: keys are columns, and SQL reads from S3 what it wrote."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.servers import REGION
from tests.machines.instance import INSTANCE_ID, Instance
from tests.machines.sql_engines import Engine

Make = Callable[..., Instance]
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
BODY = b"GET /\nan error, and no newline"
KEY = re.compile(
    rf"logs/watch=app/instance={INSTANCE_ID}/dt=(\d{{4}}-\d\d-\d\d)/"
    r"app\.log\.(\d{8}T\d{6}Z)\.[0-9a-f]{12}\.zst"
)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """DuckDB with a reader's own credentials, which commands that read have, too."""
    for name in KEYS:
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    made = Engine("duckdb", tmp_path)
    made.reach_s3(tmp_path / "extensions")
    return made


def test_sql_reads_from_s3_what_a_daemon_shipped_and_said(instance: Make, engine: Engine) -> None:
    machine = instance(watch='key = "hive"')
    machine.write("app.log.1", BODY)
    assert KEY.search(machine.run("plan"))
    machine.start()
    machine.wait_until_shipped(1)
    machine.stop()
    machine.more_environment |= {name: os.environ[name] for name in KEYS}
    [found] = filter(None, map(KEY.fullmatch, machine.moto.keys(machine.bucket)))
    day = found[1]

    def asked(query: str) -> list[dict[str, Any]]:
        words = ("duckdb", "--region", REGION, "--day", day, "--query", query)
        return engine.run(machine.run("sql", *words))

    [host] = asked("hosts")
    assert (host["instance"], host["because"]) == (INSTANCE_ID, "stop")
    assert (host["objects"], host["raw_bytes"], host["losses"]) == (1, len(BODY), 0)
    [shipped] = asked("bytes")
    size = len(machine.moto.read(machine.bucket, found[0]))
    assert (shipped["watch"], f"{shipped['day']}", shipped["stored_bytes"]) == ("app", day, size)
    assert asked("lines") == [{"instance": INSTANCE_ID, "line": "an error, and no newline"}]
    assert [asked(query) for query in ("overdue", "gaps", "missing", "losses")] == [[]] * 4

    listed = json.loads(machine.run("find", "--region", REGION, "--json"))["objects"]
    assert [one["key"] for one in listed] == [found[0]]
    assert (listed[0]["watch"], listed[0]["instance"]) == ("app", INSTANCE_ID)
    assert machine.run("cat", "--region", REGION, "--watch", "app").encode() == BODY

    columns = engine.run(
        "SELECT watch, instance, CAST(dt AS VARCHAR) AS dt, line FROM read_csv("
        f"'s3://{machine.bucket}/logs/watch=*/*/*/*.zst', columns = {{'line': 'VARCHAR'}}, "
        "auto_detect = false, header = false, delim = chr(1), hive_partitioning = true)"
    )
    assert [tuple(one.values()) for one in columns] == [
        ("app", INSTANCE_ID, day, line) for line in BODY.decode().splitlines()
    ]

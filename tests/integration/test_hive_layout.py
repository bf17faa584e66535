"""``key = "hive"`` with a real daemon: its keys are columns, and SQL reads what it wrote."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.machines.instance import INSTANCE_ID, Instance
from tests.machines.sql_engines import Engine

Make = Callable[..., Instance]
KEY = re.compile(
    rf"logs/watch=app/instance={INSTANCE_ID}/dt=(\d{{4}}-\d\d-\d\d)/"
    r"app\.log\.(\d{8}T\d{6}Z)\.[0-9a-f]{12}\.zst"
)


def copied(machine: Instance, directory: Path) -> Path:
    """What ``aws s3 sync`` leaves."""
    for key, body in machine.moto.objects(machine.bucket).items():
        path = directory / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return directory


def asked(machine: Instance, engine: Engine, query: str, *words: str) -> list[dict[str, Any]]:
    where = ("--location", engine.location, "--day", f"{datetime.now(UTC):%Y-%m-%d}")
    return engine.run(machine.run("sql", "duckdb", *where, *words, "--query", query))


def test_what_plan_shows_is_shipped_and_read_as_columns(instance: Make, tmp_path: Path) -> None:
    machine = instance(watch='key = "hive"')
    machine.write("app.log.1", b"GET /\nan error, and no newline")
    assert KEY.search(machine.run("plan"))
    machine.start()
    machine.wait_until_shipped(1)
    machine.stop()
    keys = [key for key in machine.moto.objects(machine.bucket) if not key.startswith("logs/_")]
    [found] = map(KEY.fullmatch, keys)
    assert found is not None
    engine = Engine("duckdb", copied(machine, tmp_path / "copy"))
    columns = engine.run(
        f"SELECT watch, instance, CAST(dt AS VARCHAR) AS dt, line FROM read_csv("
        f"'{tmp_path}/copy/logs/watch=*/*/*/*.zst', columns = {{'line': 'VARCHAR'}}, "
        "auto_detect = false, header = false, delim = chr(1), hive_partitioning = true)"
    )
    assert [tuple(one.values()) for one in columns] == [
        ("app", INSTANCE_ID, found[1], "GET /"),
        ("app", INSTANCE_ID, found[1], "an error, and no newline"),
    ]

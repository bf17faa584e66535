"""Names, times and journal values that nobody expects, on a real daemon: the others go on."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing

from tests.machines.instance import Instance

Make = Callable[..., Instance]

NAMES = (
    b"new\nline.log.1",
    b"\x01\x1b[31mred\x7f.log.1",
    b"surrogate-\xed\xb2\x80.log.1",
    b"latin-\xe4\xf6\xfc.log.1",
    b"\xff\xfe.log.1",
    b"%41%.log.1",
    b"-rf.log.1",
    b" .log.1",
    b"{instance_id}.log.1",
    b"..log.1",
    b"\xe2\x80\xae.log.1",
    b"a" * 249 + b".log.1",
    b"app.log.99999999999999999999999999",
    b"app.log-99999999",
    b"app.log.0000-00-00",
    b"@4000000000000000000000ff.s",
    "\U0001f9ea.log.\u0663".encode() + b".1",
)
TIMES = (-1, -(2**31), 2**31, 2**32, 15_032_385_535, 10_413_792_000, -2_177_452_800)

GARBAGE = {
    "state": "state = 'NONSENSE'",
    "compression": "compression = 'lzw'",
    "no utf-8": "detail = CAST(x'ff' AS TEXT), code = CAST(x'c0' AS TEXT)",
    "intents": "intents = 'garbage no:number', raw_sha256 = 'x'",
    "key": "key = char(10) || '../..' || id",
    "empty key": "key = ''",
    "mtime": "mtime_ns = -9223372036854775808, ctime_ns = 9223372036854775807",
    "range": "raw_start = 9223372036854775807, raw_end = -1",
    "head": "head_length = -1, head_digest = ''",
    "attempts": "attempts = 9223372036854775807, code = 'SlowDown'",
    "due when parked": "state = 'PARKED'",
    "due when done": "state = 'DONE'",
    "due when lost": "state = 'GONE'",
    "never due": "due_at = NULL",
    "upload": "state = 'UPLOADING'",
    "upload id": "state = 'UPLOADING', upload_id = '', part_size = -1",
    "stored": "state = 'UPLOADED', etag = NULL",
    "verified": "state = 'VERIFIED', finished_at = -1e300",
    "promised": "promised_at = 1e300",
    "due": "due_at = -1e300",
    "far": "due_at = 9e999",
    "path": "path = x'00'",
    "generation": "generation = CAST(x'fe' AS TEXT)",
    "watch": "watch = CAST(x'fe' AS TEXT)",
}


def test_files_of_any_name_and_time_are_shipped_and_none_ends_the_daemon(
    instance: Make,
) -> None:
    machine = instance(watch='include = ["*"]')
    for number, name in enumerate(NAMES):
        machine.write(name, b"%d\n" % number)
    for number, seconds in enumerate(TIMES):
        path = machine.write(f"at.log.{number + 1}", b"at %d\n" % seconds)
        os.utime(path, (0, seconds))
    machine.start()
    bodies = {b"%d\n" % number for number in range(len(NAMES))}
    bodies |= {b"at %d\n" % seconds for seconds in TIMES}
    machine.wait_until_shipped(len(bodies))
    assert set(machine.contents()) == bodies
    assert machine.events("bug.met") == []
    assert machine.ask("/healthz") == "ok\n"
    assert machine.stop() == 0


def poison(machine: Instance, *statements: str) -> None:
    """As an operator might by hand."""
    path = machine.directory / "state" / "journal.db"
    with closing(sqlite3.connect(path, timeout=10)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_garbage_in_the_journal_ends_no_daemon_and_holds_up_no_other_file(
    instance: Make,
) -> None:
    """Whether it is written while the daemon runs or before it starts."""
    machine = instance()
    good = machine.config.read_text()
    machine.config.write_text(good.replace(machine.bucket, "no-such-bucket"))
    for number in range(len(GARBAGE)):
        machine.write(f"odd{number}.log.1", b"odd %d\n" % number)
    machine.write("good.log.1", b"good\n")
    machine.start()
    machine.wait_for(lambda: machine.files("READY") == len(GARBAGE) + 1, "all to be promised")
    assert machine.stop() == 0
    rows = [
        f"UPDATE OR REPLACE shipments SET {garbage} WHERE path = CAST('odd{number}.log.1' AS BLOB)"
        for number, garbage in enumerate(GARBAGE.values())
    ]
    poison(
        machine,
        *rows,
        "INSERT INTO totals (watch, state, files, raw_bytes, stored_bytes)"
        " VALUES ('app', 'NONE', 1, 1, 1)",
        "UPDATE meta SET value = '[7]' WHERE name = 'facts'",
        "INSERT OR REPLACE INTO meta VALUES ('starts', 'many'), ('bucket', 'x'), ('terms', '')",
    )
    machine.config.write_text(good)
    machine.start()
    machine.wait_for(lambda: b"good\n" in machine.contents(), "the good one")
    poison(machine, *rows)
    machine.write("later.log.1", b"later\n")
    machine.wait_for(lambda: b"later\n" in machine.contents(), "what came later")
    assert machine.status() is not None
    assert machine.ask("/healthz") != ""
    assert machine.events("loop.died") == []
    machine.imds.fault = lambda method, path: (404, "no such thing")
    poison(machine, "UPDATE meta SET value = 'no json' WHERE name = 'facts'")
    assert machine.stop() == 0
    machine.start()
    machine.wait_for(machine.status, "another start")
    assert machine.stop() == 0

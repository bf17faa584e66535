"""``shipper sql``: what it prints is run, and gives what is known of a simulated fleet."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlglot
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from shipper.archive.sql import duckdb_text, hive_text
from shipper.cli.main import main
from shipper.cli.sql import DIALECTS, QUERIES
from shipper.core.destinations import HIVE_KEY
from tests.fakes.fleet_bucket import Host
from tests.machines.sql_engines import Engine

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
HOUR = timedelta(hours=1)
Shipper = Callable[..., str]
PREFIXES = ["logs/", "", 'it\'s [a] "b"/*; DROP TABLE x; --/{{watch}}/']


def before(days: int) -> datetime:
    """Midnight so many days ago."""
    return TODAY - timedelta(days=days)


DAY = f"{before(1):%Y-%m-%d}"
COMMON = ("--bucket", "copy", "--day", DAY, "--expect-every", "75h")


def fleet(root: Path, **how: Any) -> None:
    """Four days of five hosts; the keys of a host's objects are as ``Host`` is told."""
    web = Host(root, "i-web", before(4), **how)
    late = Host(root, "i-late", before(4), **how)
    for day in (4, 3, 2, 1):
        web.ships("nginx", "access.log.1", before(day) + 12 * HOUR, b"GET /\nan error\n" * day)
        late.ships("app", "app.log.1", before(day) + 12 * HOUR)
        if day == 4:
            late.ships("nginx", "access.log.1", before(day) + 12 * HOUR)
        web.says(before(day - 1))
        late.says(before(day - 1))

    ended = Host(root, "i-ended", before(4), **how)
    ended.ships("nginx", "access.log.1", before(4) + 12 * HOUR)
    ended.says(before(3) - HOUR, "drain")
    ended.says(before(3), "stop")

    silent = Host(root, "i-silent", before(4), **how)
    silent.ships("nginx", "access.log.1", before(4) + 12 * HOUR)
    silent.says(before(3))

    torn = Host(root, "rack/7", before(4), **how)
    torn.says(before(3))
    torn.says(before(2), is_written=False)
    for start in (0, 100, 300):
        torn.ships("app", "big.log", before(2) + 3 * HOUR, b"x" * 100, start=start, inode=9)
    torn.ships("app", "live.log", before(2) + 4 * HOUR, b"y" * 50, inode=11)
    torn.ships("app", "live.log.1", before(2) + 5 * HOUR, b"y" * 30, start=50, inode=12)
    torn.says(before(1))
    torn.says(before(0))

    forgetful = Host(root, "i-forgetful", before(2), **how)
    twice = forgetful.ships("app", "app.log.1", before(2) + 12 * HOUR)
    forgetful.says(before(1))
    again = Host(root, "i-forgetful", before(1), **how, began_how="the journal was lost")
    again.entries.append(twice)
    again.loses("app", "gone.log.1", before(1) + 3 * HOUR)
    again.loses("app", "late.log.1", before(1) + 4 * HOUR, "parked")
    again.ships("app", "late.log.1", before(1) + 4 * HOUR, b"z" * 100, is_time_known=False)
    again.says(before(0) - HOUR)
    again.loses("app", "gone.log.1", before(1) + 3 * HOUR)
    again.says(before(0))


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def shipper(capsys: pytest.CaptureFixture[str]) -> Shipper:
    def printed(*words: str, code: int = 0) -> str:
        assert main(["sql", *words]) == code
        found = capsys.readouterr()
        return found.err if code else found.out

    return printed


class Fleet:
    def __init__(self, engine: Engine, shipper: Shipper, *options: str) -> None:
        self._engine, self._shipper = engine, shipper
        self._options = (*COMMON, "--location", engine.location, *options)
        if engine.dialect == "athena":
            engine.run(shipper("athena", *self._options))

    def asks(self, query: str, *options: str) -> list[dict[str, Any]]:
        watch = ("--watch", "nginx") if query == "lines" else ()
        words = (self._engine.dialect, *watch, *self._options, *options, "--query", query)
        return self._engine.run(self._shipper(*words))


@pytest.fixture
def simulated(tmp_path: Path, dialect: str, shipper: Shipper) -> Fleet:
    fleet(tmp_path)
    return Fleet(Engine(dialect, tmp_path), shipper)


def naive(at: datetime) -> datetime:
    return at.replace(tzinfo=None)


def test_overdue_names_the_late_watch_and_the_silent_host_and_not_the_ended_one(
    simulated: Fleet,
) -> None:
    sent = naive(before(4) + 12 * HOUR + timedelta(minutes=2))
    found = simulated.asks("overdue")
    assert [(one["watch"], one["instance"], one["last_manifest"]) for one in found] == [
        ("nginx", "i-late", naive(before(0))),
        ("nginx", "i-silent", naive(before(3))),
    ]
    assert {one["last_sent"] for one in found} == {sent}
    assert {one["newest_log"] for one in found} == {naive(before(4) + 12 * HOUR)}
    assert simulated.asks("overdue", "--expect-every", "3000d") == []


def test_bytes_count_every_object_once_though_a_lost_journal_lists_it_again(
    simulated: Fleet,
) -> None:
    found = {(one["watch"], one["day"]): one for one in simulated.asks("bytes")}
    assert {
        key: (one["instances"], one["objects"], one["raw_bytes"]) for key, one in found.items()
    } == {
        ("app", before(1).date()): (2, 2, 107),
        ("nginx", before(1).date()): (1, 1, 15),
        ("app", before(2).date()): (3, 7, 394),
        ("nginx", before(2).date()): (1, 1, 30),
        ("app", before(3).date()): (1, 1, 7),
        ("nginx", before(3).date()): (1, 1, 45),
        ("app", before(4).date()): (1, 1, 7),
        ("nginx", before(4).date()): (4, 4, 81),
    }
    assert all(0 < one["stored_bytes"] < 400 for one in found.values())


def test_hosts_says_how_much_of_the_day_each_host_speaks_for(simulated: Fleet) -> None:
    found = [
        (
            one["instance"],
            float(one["covered_percent"]),
            one["objects"],
            one["raw_bytes"],
            one["losses"],
        )
        for one in simulated.asks("hosts")
    ]
    assert found == [
        ("i-silent", 0.0, 0, 0, 0),
        ("i-forgetful", 100.0, 1, 100, 2),
        ("i-late", 100.0, 1, 7, 0),
        ("i-web", 100.0, 1, 15, 0),
        ("rack/7", 100.0, 0, 0, 0),
    ]
    torn_day = f"{before(3):%Y-%m-%d}"
    covered = {
        one["instance"]: one["covered_percent"]
        for one in simulated.asks("hosts", "--day", torn_day)
    }
    assert covered == {"i-silent": 0.0, "rack/7": 0.0, "i-late": 100.0, "i-web": 100.0}


def test_gaps_names_the_segment_behind_missing_bytes_and_no_copy_that_goes_on(
    simulated: Fleet,
) -> None:
    [gap] = simulated.asks("gaps")
    assert (gap["instance"], gap["watch"], gap["path"], gap["missing_before"]) == (
        "rack/7",
        "app",
        "/var/log/app/big.log",
        300,
    )
    assert gap["key"].startswith("logs/app/rack%2F7/dt=")


def test_a_gap_is_not_hidden_by_another_log_that_ends_at_that_byte(
    tmp_path: Path, dialect: str, shipper: Shipper
) -> None:
    host = Host(tmp_path, "i-1", before(2))
    host.ships("app", "a.log.1", before(1), b"x" * 100, inode=1)
    host.ships("app", "b.log.1", before(1) + HOUR, b"y" * 50, start=100, inode=2)
    host.says(before(0))
    [gap] = Fleet(Engine(dialect, tmp_path), shipper).asks("gaps")
    assert (gap["path"], gap["missing_before"]) == ("/var/log/app/b.log.1", 100)


def test_a_manifest_with_fewer_lines_than_it_says_is_missing_too(
    tmp_path: Path, dialect: str, shipper: Shipper
) -> None:
    host = Host(tmp_path, "i-1", before(2))
    for number in (1, 2, 3):
        host.ships("app", f"{number}.log.1", before(1))
    host.says(before(0))
    [path] = tmp_path.rglob("*.jsonl.zst")
    lines = zstandard.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(zstandard.compress(b"".join(lines[:-1])))
    [found] = Fleet(Engine(dialect, tmp_path), shipper).asks("missing")
    assert (found["instance"], found["first_missing"], found["last_missing"]) == ("i-1", 1, 1)


def test_a_host_s_entries_and_times_do_not_change_what_another_one_says(
    tmp_path: Path, dialect: str, shipper: Shipper
) -> None:
    good, evil = Host(tmp_path, "i-good", before(4)), Host(tmp_path, "i-evil", before(3))
    own = good.ships("nginx", "access.log.1", before(3))
    good.says(before(2))
    forged = replace(own, raw_end=10**12, first_sent="never", last_sent="never")
    evil.entries.append(forged)
    evil.says(before(1))
    asked = Fleet(Engine(dialect, tmp_path), shipper)

    assert ("i-good", "nginx") in {
        (one["instance"], one["watch"]) for one in asked.asks("overdue", "--expect-every", "20h")
    }
    rows = asked.asks("hosts", "--day", f"{before(3):%Y-%m-%d}")
    assert {one["instance"]: one["raw_bytes"] for one in rows}["i-good"] == 7


def test_missing_names_the_manifests_that_are_not_there(simulated: Fleet) -> None:
    [found] = simulated.asks("missing")
    assert (found["instance"], found["first_missing"], found["last_missing"]) == ("rack/7", 2, 2)


def test_losses_are_those_that_no_object_made_good(simulated: Fleet) -> None:
    [lost] = simulated.asks("losses")
    assert (lost["instance"], lost["loss"], lost["path"]) == (
        "i-forgetful",
        "gone",
        "/var/log/app/gone.log.1",
    )
    assert lost["lost_at"] == naive(before(1) + 3 * HOUR)
    assert lost["detail"] == 'it\'s "gone"'


def test_one_instance_alone_is_read(tmp_path: Path, dialect: str, shipper: Shipper) -> None:
    fleet(tmp_path)
    alone = Fleet(Engine(dialect, tmp_path), shipper, "--instance", "rack/7")
    assert [one["instance"] for one in alone.asks("hosts")] == ["rack/7"]
    assert "instance=*" not in shipper(dialect, *COMMON, "--instance", "rack/7")


@pytest.mark.parametrize(
    "key", ["", "hive", "{prefix}{instance_id}/x {watch}/{mtime:%Y-%m-%d}/{digest}{segment}.zst"]
)
def test_lines_of_logs_are_read_where_they_lie_in_every_layout_that_says_whose_they_are(
    tmp_path: Path, dialect: str, shipper: Shipper, key: str
) -> None:
    template = {"key": HIVE_KEY if key == "hive" else key} if key else {}
    fleet(tmp_path, **template)
    options = ("--instance", "i-web", *(("--key", key) if key else ()))
    found = Fleet(Engine(dialect, tmp_path), shipper, *options).asks("lines")
    assert found == [{"instance": "i-web", "line": "an error"}]


def test_hive_columns_are_read_from_the_keys_themselves(tmp_path: Path) -> None:
    fleet(tmp_path, key=HIVE_KEY)
    engine = Engine("duckdb", tmp_path)
    found = engine.run(
        "SELECT DISTINCT watch, instance, CAST(dt AS VARCHAR) AS dt FROM read_csv("
        f"'{tmp_path}/logs/watch=*/*/*/*.zst', columns = {{'line': 'VARCHAR'}}, "
        "auto_detect = false, header = false, delim = chr(1), hive_partitioning = true) "
        f"WHERE dt = '{DAY}' ORDER BY ALL"
    )
    assert [tuple(one.values()) for one in found] == [
        ("app", "i-forgetful", DAY),
        ("app", "i-late", DAY),
        ("nginx", "i-web", DAY),
    ]


def test_every_line_comes_back_whatever_it_holds(tmp_path: Path, shipper: Shipper) -> None:
    body = (
        'a,"b\n\n"" \\ \' \x01 ü\n\ttab \n\\N\nNULL\n#\n' + "y" * 3_000_000 + "\nerror at the end"
    )
    host = Host(tmp_path, "i-web", before(2))
    host.ships("nginx", "access.log.1", before(1) + HOUR, body.encode())
    host.says(before(0))
    engine = Engine("duckdb", tmp_path)
    Fleet(engine, shipper).asks("lines")
    found = engine.run(f"FROM log_lines('nginx', '{DAY}')")
    assert [one["line"] for one in found] == body.split("\n")
    assert {(one["watch"], one["instance"], one["dt"]) for one in found} == {
        ("nginx", "i-web", DAY)
    }
    assert (
        engine.run(f"FROM log_lines('*', '{DAY}', instance := 'i-w*', name := 'access*')") == found
    )


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b"a\rb\nc\n", ["a", "b", "c"]),
        (b"a\r\nb\nc\r\n", ["a", "b", "c"]),
        (b"a\r\n\r\nb\r\n", ["a", "", "b"]),
    ],
)
def test_a_carriage_return_ends_a_line_and_no_query(
    tmp_path: Path, shipper: Shipper, body: bytes, lines: list[str]
) -> None:
    host = Host(tmp_path, "i-web", before(2))
    host.ships("nginx", "access.log.1", before(1) + HOUR, body)
    host.says(before(0))
    engine = Engine("duckdb", tmp_path)
    Fleet(engine, shipper).asks("lines")
    assert [one["line"] for one in engine.run(f"FROM log_lines('nginx', '{DAY}')")] == lines


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_hostile_prefix_is_only_text(
    tmp_path: Path, dialect: str, shipper: Shipper, prefix: str
) -> None:
    fleet(tmp_path, prefix=prefix)
    hostile = Fleet(Engine(dialect, tmp_path), shipper, "--prefix", prefix, "--instance", "i-web")
    assert [one["instance"] for one in hostile.asks("hosts")] == ["i-web"]
    assert hostile.asks("lines") == [{"instance": "i-web", "line": "an error"}]


@given(st.text(st.characters(codec="utf-8", min_codepoint=1), max_size=20))
def test_no_text_breaks_out_of_its_quotes(value: str) -> None:
    assert duckdb.execute(f"SELECT {duckdb_text(value)}").fetchall() == [(value,)]
    for dialect, quoted in (("trino", duckdb_text(value)), ("hive", hive_text(value))):
        parsed = sqlglot.parse_one(f"SELECT {quoted}", read=dialect)
        assert len(parsed.expressions) == 1
        assert parsed.expressions[0].is_string


def test_what_is_printed_is_data_for_other_programs(dialect: str, shipper: Shipper) -> None:
    whole = shipper(dialect, "--bucket", "my-logs")
    found = [one for one in QUERIES if f"\n-- {one}: " in whole]
    assert found == [*QUERIES], "every query, by its name"
    alone = shipper(dialect, "--bucket", "my-logs", "--query", "gaps")
    assert alone.endswith(whole[whole.index("-- gaps: ") : whole.index("\n-- missing: ")])
    assert ("CREATE" in alone) is (dialect == "duckdb"), "Athena remembers its views"
    assert "{{" not in whole


def test_a_name_that_looks_like_a_query_is_refused(dialect: str, shipper: Shipper) -> None:
    for flag in ("--watch", "--instance"):
        for text in ("w\n-- query evil: x\nDROP", "\udcff"):
            said = shipper(dialect, "--bucket", "b", flag, text, code=1)
            assert "BadOptions" in said
    printed = shipper(dialect, "--bucket", "b", "--watch", "'-- query evil: x")
    assert duckdb_text("'-- query evil: x") in printed


def test_duckdb_is_told_how_to_find_the_readers_credentials(shipper: Shipper) -> None:
    assert "CREATE OR REPLACE SECRET shipper (TYPE s3, PROVIDER credential_chain);" in shipper(
        "duckdb", "--bucket", "my-logs"
    )
    other = ("--profile", "o'neil", "--region", "eu-west-1", "--endpoint-url", "http://[::1]:9/")
    assert (
        "(TYPE s3, PROVIDER credential_chain, PROFILE 'o''neil', REGION 'eu-west-1', "
        "ENDPOINT '[::1]:9', URL_STYLE 'path', USE_SSL false);"
    ) in shipper("duckdb", "--bucket", "my-logs", *other)
    assert "SECRET" not in shipper("duckdb", "--bucket", "my-logs", "--location", "/copy")


CONFIGURED = """
[destination]
bucket = "first"
prefix = "of/"
key = "hive"
[[watch]]
directory = "/var/log/web"
[[watch]]
directory = "/var/log/app"
key = "{prefix}{instance_id}/{watch}/{stem}.{digest}"
[[watch]]
directory = "/var/log/db"
prefix = "db/"
"""


def test_a_configuration_says_where_and_in_which_layouts(
    tmp_path: Path, dialect: str, shipper: Shipper
) -> None:
    path = tmp_path / "shipper.toml"
    path.write_text(CONFIGURED)
    found = shipper(dialect, "--config", str(path))
    assert "s3://first/of/_manifests/" in found
    assert "-- No lines of logs: watch, instance and day are no directories of '{prefix}" in found
    hive, another = {
        "duckdb": ("'s3://first/of/' || 'watch=' || watch ||", "'s3://first/db/' || 'watch='"),
        "athena": ("'s3://first/of/watch=${watch}/", "'s3://first/db/watch=${watch}/"),
    }[dialect]
    assert hive in found
    assert another in found
    assert "log_lines_3" in found
    assert "'web'" in found.partition("-- lines: ")[2], "the first watch"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("duckdb", "--key", "hive"), "--key goes with --bucket"),
        (("duckdb", "--bucket", "b-1", "--key", "{stem}"), "--key must contain {digest}"),
        (("duckdb", "--bucket", "b-1", "--prefix", "a\nb"), "no SQL can say where"),
        (("duckdb", "--bucket", "arn:aws:s3:::b"), "no SQL can say where arn:aws:s3:::b/logs/ is"),
        (("athena", "--bucket", "b-1", "--endpoint-url", "http://h"), "reads AWS's S3 alone"),
        (("athena", "--bucket", "b-1", "--location", "/copy"), "reads AWS's S3 alone"),
    ],
)
def test_what_cannot_be_said_is_refused_with_what_can(
    tmp_path: Path, shipper: Shipper, words: tuple[str, ...], says: str
) -> None:
    path = tmp_path / "shipper.toml"
    path.write_text(CONFIGURED)
    more = () if "--bucket" in words else ("--config", str(path))
    found = shipper(*words, *more, code=1)
    assert says in found
    assert "hint: " in found


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('[destinations.b]\nbucket = "second"', "several: first/of/, second/logs/"),
        ("", "no SQL can say where first/{tag:Env}/ is"),
    ],
)
def test_a_configuration_that_names_no_one_place_is_refused(
    tmp_path: Path, shipper: Shipper, more: str, says: str
) -> None:
    path = tmp_path / "shipper.toml"
    text = CONFIGURED + ('destination = "b"\n' if more else "") + more
    path.write_text(text if more else text.replace('"of/"', '"{tag:Env}/"'))
    assert says in shipper("duckdb", "--config", str(path), code=1)


@pytest.mark.parametrize(("word", "ago"), [("today", 0), ("yesterday", 1)])
def test_a_day_may_be_a_word(shipper: Shipper, word: str, ago: int) -> None:
    before = datetime.now(UTC)
    printed = shipper("duckdb", "--bucket", "b-1", "--query", "hosts", "--day", word)
    days = {(at - timedelta(days=ago)).date().isoformat() for at in (before, datetime.now(UTC))}
    assert any(f"TIMESTAMP '{day} 00:00:00' AS begins_at" in printed for day in days)


def test_a_watch_is_refused_where_the_query_asks_of_none(shipper: Shipper) -> None:
    words = ("duckdb", "--bucket", "b-1", "--watch", "nope", "--query")
    assert "--watch says nothing to --query bytes" in shipper(*words, "bytes", code=1)
    assert "'nope'" in shipper(*words, "lines")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--day", "tomorrow"), "'tomorrow' is no day; such as 2026-11-28 or today"),
        (("--expect-every", "often"), "'often' is no duration"),
        (("--query", "all"), "invalid choice: 'all'"),
    ],
)
def test_a_value_that_is_none_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["sql", "duckdb", "--bucket", "b-1", *words])
    assert caught.value.code == 64
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    "key",
    [
        "{watch}/{instance_id}/{mtime:%Y-%m-%d}/{digest}",
        "{prefix}{watch}/{instance_id}/{mtime:%Y}/{digest}",
        "{prefix}{watch}/{instance_id}/{mtime:%Y-%m-%d}/{directory}/{digest}",
        "{prefix}{digest}",
    ],
)
def test_a_layout_that_does_not_say_whose_a_line_is_has_no_lines(
    dialect: str, shipper: Shipper, key: str
) -> None:
    found = shipper(dialect, "--bucket", "my-logs", "--key", key)
    assert f"-- No lines of logs: watch, instance and day are no directories of {key!r}." in found
    assert "log_lines" not in found
    assert "-- losses: " in found
    alone = ("--bucket", "my-logs", "--key", key, "--query", "lines")
    assert "there is no query lines for keys of this layout" in shipper(dialect, *alone, code=1)


def test_manifests_that_were_read_once_answer_without_the_bucket(
    tmp_path: Path, shipper: Shipper
) -> None:
    fleet(tmp_path)
    engine = Engine("duckdb", tmp_path)
    options = (*COMMON, "--location", engine.location)
    first = engine.run(shipper("duckdb", *options, "--query", "bytes"))
    [advice] = re.findall(
        r"^-- (CREATE TABLE kept .*)$", shipper("duckdb", *options), re.MULTILINE
    )
    engine.run(advice)
    shutil.rmtree(tmp_path / "logs" / "_manifests")
    query = shipper("duckdb", *options, "--query", "bytes").partition("\n-- bytes: ")[2]
    assert engine.run(f"-- {query}") == first != []

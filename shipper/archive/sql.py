"""SQL over manifests and logs, for DuckDB and Athena: definitions, and ready queries.

The texts are in ``queries/``: ``duckdb.sql`` and ``athena.sql`` define ``manifest_lines`` and the
lines of logs, each in its dialect; ``both.sql`` is the same in both. ``-- query NAME: what it
says`` begins a query. A ``{{mark}}`` is a value of the reader's, which is quoted here as its
dialect does.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Formatter

from shipper.archive.buckets import KeyLayout
from shipper.core.destinations import Destination
from shipper.core.manifests import DIRECTORY, instance_prefix

_QUERY = re.compile(r"^-- query (\w+): (.*)\n", re.MULTILINE)
_MARK = re.compile(r"\{\{(\w+)\}\}")
_COLUMNS = {"watch": "watch", "instance_id": "instance", "mtime": "dt"}
"""By the field of a key's template."""
_DAY, _PREFIX = "%Y-%m-%d", "{prefix}"


@dataclass(frozen=True, slots=True)
class Script:
    """What a dialect is told: the definitions, and the queries by their names."""

    definitions: str
    queries: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What stands in the texts. ``root`` is where the bucket's keys begin: ``s3://BUCKET/``."""

    root: str
    prefix: str
    layouts: Sequence[KeyLayout]
    day: str
    expect_seconds: int
    watch: str
    instance: str = ""
    """Empty for all."""
    secret: str = ""


def script(dialect: str, wanted: Wanted) -> Script:
    """The SQL for one place."""
    quoted = duckdb_text if dialect == "duckdb" else hive_text
    own, _, logs = _text(dialect).partition("-- logs\n")
    below = instance_prefix(wanted.prefix, wanted.instance) if wanted.instance else ""
    manifests = wanted.root + (below or wanted.prefix + DIRECTORY)
    if dialect == "duckdb":
        globbed = glob_text(manifests) + ("" if below else "instance=*/")
        manifests = globbed + "epoch=*/*.jsonl.zst"
    values = {
        "secret": wanted.secret,
        "manifests": quoted(manifests),
        "day": wanted.day,
        "expect_seconds": str(wanted.expect_seconds),
        "expect_every": f"{wanted.expect_seconds / 3600:g} hours",
        "watch": duckdb_text(wanted.watch),
        "instance": duckdb_text(wanted.instance or "INSTANCE"),
    }
    parts = [_split(own, values), _split(_text("both"), values)]
    for number, layout in enumerate(_distinct(wanted.layouts), 1):
        found = _log_values(wanted.root, layout, quoted)
        named = {"log_lines": "log_lines" if number == 1 else f"log_lines_{number}"}
        parts.append(_split(logs, values | found | named) if found else _no_lines(layout))
    queries = dict[str, str]()
    for part in parts:
        queries = {**part.queries, **queries}  # of several definitions of logs, the first's
    order = [name for part in parts for name in part.queries]
    return Script(
        "\n".join(part.definitions for part in parts), {name: queries[name] for name in order}
    )


def _split(text: str, values: Mapping[str, str]) -> Script:
    """Filled when it is split: a value may hold what looks like the beginning of a query."""
    before, *rest = _QUERY.split(text)
    queries = {
        name: _filled(f"-- {name}: {says}\n{body.strip()}\n", values)
        for name, says, body in zip(rest[::3], rest[1::3], rest[2::3], strict=True)
    }
    return Script(_filled(before.strip() + "\n", values), queries)


def secret_for(destination: Destination, profile: str) -> str:
    """How DuckDB finds the reader's own credentials, and the bucket."""
    scheme, _, host = destination.endpoint_url.rpartition("://")
    options = {
        "PROFILE": profile,
        "REGION": destination.region,
        "ENDPOINT": host.rstrip("/"),
        "URL_STYLE": "path" if host else "",
    }
    given = [f", {name} {duckdb_text(value)}" for name, value in options.items() if value]
    given += [", USE_SSL false"] * (scheme == "http")
    return (
        "INSTALL httpfs; LOAD httpfs; INSTALL aws; LOAD aws;\n"
        f"CREATE OR REPLACE SECRET shipper (TYPE s3, PROVIDER credential_chain{''.join(given)});\n"
    )


def duckdb_text(value: str) -> str:
    """A text in DuckDB's SQL, and in Athena's outside of its DDL."""
    return "'" + value.replace("'", "''") + "'"


def hive_text(value: str) -> str:
    """A text in Athena's DDL, which is Hive's."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def glob_text(value: str) -> str:
    """A glob that matches this text alone."""
    return re.sub(r"[*?\[\\]", lambda found: f"[{found[0]}]", value)


def _text(name: str) -> str:
    return (files("shipper.archive") / "queries" / f"{name}.sql").read_text(encoding="utf-8")


def _filled(text: str, values: Mapping[str, str]) -> str:
    """In one pass: a value may hold what looks like a mark."""
    return _MARK.sub(lambda found: values.get(found[1], found[0]), text)


def _distinct(layouts: Sequence[KeyLayout]) -> list[KeyLayout]:
    return list({(one.prefix, one.key): one for one in layouts}.values())


def _no_lines(layout: KeyLayout) -> Script:
    why = f"watch, instance and day are no directories of {layout.key!r}"
    return Script(f"-- No lines of logs: {why}.\n", {})


def _log_values(
    root: str, layout: KeyLayout, quoted: Callable[[str], str]
) -> dict[str, str] | None:
    """What the definition of ``log_lines`` needs; None where keys have other directories."""
    pieces = _directories(layout)
    if pieces is None:
        return None
    start = root + layout.prefix
    glob = [duckdb_text(glob_text(start))]
    pattern, template = "", start
    for words, column in pieces:
        glob += [duckdb_text(glob_text(words)), column]
        pattern += re.escape(words) + "([^/]+)" * bool(column)
        template += words + f"${{{column}}}" * bool(column)
    columns = [column for _, column in pieces if column]
    return {
        "log_glob": " || ".join(filter(None, glob)),
        "log_pattern": duckdb_text(f"{pattern}[^/]+$"),
        "log_columns": f"[{', '.join(map(duckdb_text, columns))}]",
        "log_key": repr(layout.key),
        "log_location": quoted(start.rpartition("/")[0] + "/"),
        "log_template": quoted(template),
    }


def _directories(layout: KeyLayout) -> list[tuple[str, str]] | None:
    """The texts of the keys' directories, with the column behind each."""
    directory, slash, _ = layout.key.rpartition("/")
    if not directory.startswith(_PREFIX):
        return None
    parsed = [*Formatter().parse(directory.removeprefix(_PREFIX) + slash)]
    if any(field == "mtime" and spec != _DAY for _, field, spec, _ in parsed):
        return None
    pieces = [(words, _COLUMNS.get(field or "", field or "")) for words, field, _, _ in parsed]
    columns = [column for _, column in pieces if column]
    return pieces if sorted(columns) == sorted(_COLUMNS.values()) else None

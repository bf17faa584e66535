"""What ``shipper sql`` prints, run by DuckDB: its own dialect as it is, Athena's transpiled.

There is no Athena here. Its DDL is parsed, and DuckDB reads what it declares: its columns, its
place, its projected partitions. Its views and queries are transpiled, and run over that.
"""

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import sqlglot
from sqlglot import exp

IN_S3 = "s3://copy/"
"""Stands for the directory in what Athena is told."""
_TYPES = {"INT": "INTEGER", "BIGINT": "BIGINT", "TEXT": "VARCHAR", "VARCHAR": "VARCHAR"}


def statements(script: str) -> list[exp.Expr]:
    """What Athena is told, one by one: whether one is Hive's or Trino's shows at its beginning."""
    parts = [one for one in script.split(";\n") if one.strip()]
    return [sqlglot.parse_one(one, read="athena") for one in parts]


class Engine:
    """A database that has the definitions."""

    def __init__(self, dialect: str, root: Path) -> None:
        self.dialect = dialect
        self._root = root
        self._database = duckdb.connect(config={"autoinstall_known_extensions": "false"})
        # Whatever the reader's zone is, times are UTC.
        self._database.execute("SET TimeZone = 'America/New_York'")

    def reach_s3(self, directory: Path) -> None:
        """Install what DuckDB would download: from the test's packages, signed by DuckDB."""
        self._database.execute(f"SET extension_directory = {_text(str(directory))}")
        for name in ("httpfs", "aws"):
            [built] = (files(f"duckdb_extension_{name}") / "extensions").iterdir()
            self._database.execute(f"INSTALL {_text(str(built / f'{name}.duckdb_extension'))}")

    @property
    def location(self) -> str:
        return IN_S3 if self.dialect == "athena" else f"{self._root}/"

    def run(self, script: str) -> list[dict[str, Any]]:
        """Every statement in turn; the rows of the last."""
        if self.dialect == "athena":
            rows: list[dict[str, Any]] = []
            for statement in statements(script):
                rows = self._as_athena(statement)
            return rows
        return self._rows(script)

    def _rows(self, script: str) -> list[dict[str, Any]]:
        found = self._database.execute(script)
        names = [one[0] for one in found.description or []]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def _as_athena(self, statement: exp.Expr) -> list[dict[str, Any]]:
        match statement:
            case exp.Create(kind="TABLE"):
                return self._rows(self._external(statement))
            case exp.Create(kind="VIEW") | exp.Select() | exp.With():
                return self._rows(statement.sql(dialect="duckdb"))
            case exp.Create(kind="SCHEMA" | "DATABASE") | exp.Drop():
                return []
            case _:
                raise AssertionError(f"not understood: {statement!r}")

    def _external(self, table: exp.Create) -> str:
        """A view of what the table declares."""
        assert isinstance(table.this, exp.Schema)
        name = table.this.this.name
        declared = {
            one.name: _TYPES[one.args["kind"].sql(dialect="duckdb")]
            for one in table.this.expressions
        }
        place = self._local(table.find(exp.LocationProperty).this.name)  # type: ignore[union-attr]
        partitions = table.find(exp.PartitionedByProperty)
        serde = table.find(exp.RowFormatSerdeProperty)
        assert serde is not None
        if partitions is None:
            assert serde.this.name == "org.apache.hive.hcatalog.data.JsonSerDe"
            assert len(list(Path(place).rglob("*"))) > 0
            everything = _text(_literal(place) + "**/*")
            return (
                f'CREATE OR REPLACE VIEW {name} AS SELECT *, filename AS "$path" FROM read_json('
                f"{everything}, format = 'newline_delimited', compression = 'zstd', "
                f"filename = true, hive_partitioning = false, columns = {declared})"
            )
        assert serde.this.name == "org.apache.hadoop.hive.serde2.RegexSerDe"
        assert declared == {"line": "VARCHAR"}
        properties = {
            one.name: one.args["value"].name
            for one in table.find_all(exp.Property)
            if one.args.get("value") is not None
        }
        template = self._local(properties["storage.location.template"])
        assert template.startswith(place)
        names = [one.name for one in partitions.this.expressions]
        assert sorted(names) == sorted(re.findall(r"\$\{(\w+)\}", template))
        assert all(f"projection.{one}.type" in properties for one in names)
        order = re.findall(r"\$\{(\w+)\}", template)
        pattern = re.sub(r"\\\$\\{\w+\\}", "([^/]+)", re.escape(template)) + "[^/]+$"
        globbed = re.sub(r"\$\{\w+\}", "*", _literal(template)) + "*"
        return (
            f"CREATE OR REPLACE VIEW {name} AS SELECT unnest(regexp_extract(filename, "
            f"{_text(pattern)}, {order})), coalesce(line, '') AS line FROM read_csv("
            f"{_text(globbed)}, columns = {{'line': 'VARCHAR'}}, auto_detect = false, "
            "header = false, quote = '', escape = '', delim = chr(1) || chr(2), filename = true)"
        )

    def _local(self, place: str) -> str:
        assert place.startswith(IN_S3), place
        return f"{self._root}/" + place.removeprefix(IN_S3)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _literal(place: str) -> str:
    """A glob for this text alone."""
    return re.sub(r"([*?\[])", r"[\1]", place)

"""docs/configuration.md says what the classes say, and what it says is so."""

import re
import subprocess
import sys
from pathlib import Path

from shipper.config.load import load
from shipper.config.reference import page_from, rows
from shipper.config.schema import TABLES
from shipper.core.destinations import DEFAULT_KEY
from shipper.core.object_keys import FIELDS
from shipper.core.rotated_names import rotated_name
from shipper.core.types import RelativePath

PATH = Path(__file__).parents[3] / "docs" / "configuration.md"
PAGE = PATH.read_text(encoding="utf-8")
SMALLEST = '[destination]\nbucket = "b-1"\n[[watch]]\ndirectory = "/var/log/nginx"\n'


def test_the_page_is_what_make_docs_writes() -> None:
    assert page_from(PAGE) == PAGE, "stale: run `make docs`"


def test_the_page_has_a_place_for_every_table() -> None:
    assert re.findall(r"<!-- keys: (\w+) -->", PAGE) == ["top", *TABLES]


def test_a_stale_page_is_written_anew(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("| number | `", "| number | `1"), encoding="utf-8")
    command = [sys.executable, "-m", "shipper.config.reference", str(page)]
    subprocess.run(command, check=True, timeout=60)
    assert page.read_text(encoding="utf-8") == PAGE


def test_the_defaults_on_the_page_are_those_of_the_program(tmp_path: Path) -> None:
    written = {"destination": ['bucket = "b-1"'], "watch": ['directory = "/var/log/nginx"']}
    for table in TABLES:
        for key, _, default, _ in rows(table):
            if default not in ("required", "below"):
                name = key.strip("`").partition(".")[2]
                written.setdefault(table, []).append(f"{name} = {default.strip('`')}")
    path = tmp_path / "defaults.toml"
    heads = {table: "[[watch]]" if table == "watch" else f"[{table}]" for table in TABLES}
    path.write_text(
        "\n".join("\n".join([heads[table], *lines]) for table, lines in written.items())
    )
    smallest = tmp_path / "smallest.toml"
    smallest.write_text(SMALLEST)
    assert len(path.read_text().splitlines()) > 50
    assert load(str(path), {}) == load(str(smallest), {})


def test_every_row_says_what_its_key_does_in_sentences() -> None:
    for table in ("top", *TABLES):
        for row in rows(table):
            assert row.text.endswith("."), row.key
            assert "``" not in row.text, row.key


def test_the_template_of_keys_and_all_its_fields_are_on_the_page() -> None:
    assert f"\n{DEFAULT_KEY}\n" in PAGE
    [listed] = re.findall(r"name these fields: `([^`]*)`", PAGE)
    names = [name.partition(":")[0] for name in listed.split()]
    assert sorted(names) == sorted(FIELDS)


def test_the_names_of_rotators_on_the_page_are_recognised() -> None:
    _, _, below = PAGE.partition("## Names that rotators give")
    table = [line.split("|")[1:-1] for line in below.splitlines() if line.startswith("| ")][1:]
    assert len(table) > 8
    for _, names, logs in table:
        [log] = re.findall(r"`([^`]*)`", logs)
        for name in re.findall(r"`([^`]*)`", names):
            found = rotated_name(RelativePath(name.encode()))
            assert found is not None, name
            assert found.stem.decode() == log, name

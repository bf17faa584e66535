"""The README says what the code does: this reads both."""

import argparse
import ast
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shipper.cli.main import (
    COMMANDS,
    EXIT_BUG,
    EXIT_CONFIGURATION,
    EXIT_GOOD,
    EXIT_USAGE,
    EXIT_WRONG,
    parser,
)
from shipper.config.load import load
from shipper.config.schema import TABLES
from shipper.core.backoff import CredentialsState
from shipper.core.failures import MISCONFIGURED_CODES
from shipper.core.lifecycle import diagram
from shipper.core.object_keys import FIELDS
from shipper.core.types import DEFAULT_KEY
from shipper.mock.scenario import scenario_from
from tests.machines.instance import Instance

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LEVELS = {"debug", "info", "warning", "error", "critical"}


def rows(first: str) -> list[list[str]]:
    """The cells of every table whose header's first cell is this."""
    found, is_inside = [], False
    for line in README.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells or not line.startswith("|"):
            is_inside = False
        elif cells[0] == first:
            is_inside = True
        elif is_inside and not cells[0].startswith("---"):
            found.append(cells)
    return found


def quoted(text: str) -> list[str]:
    """What stands between backquotes."""
    return re.findall(r"`([^`]*)`", text)


def calls_of_the_log() -> Iterator[tuple[str, str | None]]:
    """Every event name in the source, and its level where the call itself says it."""
    for path in (ROOT / "shipper").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            first = node.args[0]
            is_name = isinstance(first, ast.Constant) and isinstance(first.value, str)
            if not is_name or not re.fullmatch(r"[a-z]+\.[a-z_]+", str(first.value)):  # type: ignore[attr-defined]  # is_name
                continue
            name = str(first.value)  # type: ignore[attr-defined]  # is_name
            match node.func:
                case ast.Attribute(attr=level) if level in LEVELS:
                    yield name, level
                case ast.Name(id="log"):
                    yield name, None
                case _:
                    pass


def documented_events() -> dict[str, str]:
    """Every event of the README with its level."""
    return {name: row[1] for row in rows("event") for name in quoted(row[0])}


def test_every_log_event_has_a_row_and_every_row_an_event() -> None:
    used = {name for name, _ in calls_of_the_log()}
    assert len(used) > 30
    assert set(documented_events()) == used


def test_the_rows_of_log_events_say_the_level() -> None:
    documented = documented_events()
    wrong = {
        (name, level)
        for name, level in calls_of_the_log()
        if level is not None and documented[name] != level
    }
    assert not wrong


def default_in_toml(value: Any) -> str:
    """A default as the README writes it; durations and sizes in their units."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case ():
            return "[]"
        case tuple():
            return "[" + ", ".join(f'"{one}"' for one in value) + "]"
        case dict():
            return "{}"
        case _:
            return str(value)


def default_of(row_default: str, field: Any) -> Any:
    """The README's default as the field would hold it."""
    from shipper.config.units import bytes_from_text, rate_from_text, seconds_from_text

    text = row_default.strip('"')
    kind = getattr(field.type, "__name__", str(field.type))
    if kind == "Duration":
        return seconds_from_text(text)
    if kind == "Rate":
        return rate_from_text(text)
    return bytes_from_text(text) if kind == "Size" else row_default


def expected_default(field: Any) -> Any:
    """The field's default in the same form."""
    kind = getattr(field.type, "__name__", str(field.type))
    value = field.default if field.default is not MISSING else field.default_factory()
    return value if kind in ("Duration", "Rate", "Size") else default_in_toml(value)


CONFIGURATION_FIELDS = [
    (f"{table}.{field.name}", field) for table, kind in TABLES.items() for field in fields(kind)
]


def documented_keys() -> dict[str, str]:
    """Every configuration key of the README with its default."""
    return {quoted(row[0])[0]: row[1] for row in rows("key")}


def test_every_configuration_key_has_a_row_and_every_row_a_key() -> None:
    assert set(documented_keys()) == {name for name, _ in CONFIGURATION_FIELDS} | {
        "state_directory"
    }


@pytest.mark.parametrize(("name", "field"), CONFIGURATION_FIELDS)
def test_the_row_of_a_configuration_key_says_its_default(name: str, field: Any) -> None:
    said = documented_keys()[name]
    if name == "destination.key":
        assert DEFAULT_KEY in README
    elif field.default is MISSING and field.default_factory is MISSING:
        assert said == "required"
    else:
        assert default_of(said.strip("`"), field) == expected_default(field)


def test_the_fields_of_a_key_are_all_named() -> None:
    listed = re.search(r"its fields are `([^`]*)`", README)
    assert listed is not None
    names = [name.partition(":")[0] for name in listed[1].split()]
    assert sorted(names) == sorted(FIELDS)


def options_of(command: str) -> set[str]:
    """The options that the command's own parser knows, but for those of every command."""
    every = set(options_below(subparsers_of(parser())[command]))
    return {option for option in every if option.startswith("--")} - {"--help", "--config"}


def options_below(one: argparse.ArgumentParser) -> Iterator[str]:
    """Its options, and those of its subcommands."""
    for action in one._actions:
        yield from action.option_strings
    for below in subparsers_of(one).values():
        yield from options_below(below)


def subparsers_of(one: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of its commands."""
    found = [each for each in one._actions if isinstance(each, argparse._SubParsersAction)]
    return dict(found[0].choices) if found else {}


def test_every_command_has_a_row_with_every_option() -> None:
    documented = {}
    for row in rows("command"):
        words = quoted(row[0])[0].split()
        if words[0] == "shipper":
            documented[words[1]] = set(re.findall(r"--[a-z0-9-]+", " ".join(row)))
    assert documented == {name: options_of(name) for name in COMMANDS}


def test_the_row_of_a_command_begins_as_its_help_does() -> None:
    for row in rows("command"):
        words = quoted(row[0])[0].split()
        if words[0] == "shipper":
            assert row[1].startswith(COMMANDS[words[1]].SUMMARY.partition(":")[0]), words[1]


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
    mentioned = set(re.findall(r"`make ([a-z-]+)", README))
    assert {"demo", "test", "check"} <= mentioned <= targets


def test_every_exit_code_has_a_row() -> None:
    codes = {EXIT_GOOD, EXIT_WRONG, EXIT_USAGE, EXIT_BUG, EXIT_CONFIGURATION}
    assert {int(row[0]) for row in rows("exit code")} == codes


def test_the_diagram_is_drawn_from_the_table() -> None:
    assert f"```mermaid\n{diagram()}\n```" in README


def test_every_file_the_readme_points_at_exists() -> None:
    paths = re.findall(r"`((?:shipper|systemd|tests)/[\w/.-]+)`", README)
    assert len(paths) > 6
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_metric_has_a_row_with_its_labels(instance: Any) -> None:
    machine: Instance = instance()
    machine.write("app.log.1", b"a line\n" * 100)
    machine.start()
    machine.wait_until_shipped(1)
    documented = {quoted(row[0])[0]: set(quoted(row[1])) for row in rows("metric")}
    served: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(machine.ask("/metrics")):
        name = family.name + ("_total" if family.type == "counter" else "")
        served[name] = {label for sample in family.samples for label in sample.labels}
    assert set(documented) == set(served)
    wrong = {name: labels for name, labels in served.items() if labels - documented[name]}
    assert not wrong
    assert served["shipper_unshipped_files"] == {"watch"}
    assert machine.stop() == 0


def toml_blocks() -> list[str]:
    """Everything in the README that is TOML."""
    return re.findall(r"```toml\n(.*?)```", README, re.DOTALL)


def test_every_toml_block_is_a_good_configuration_or_scenario(tmp_path: Path) -> None:
    blocks = toml_blocks()
    assert len(blocks) >= 2
    for block in blocks:
        if "[[at]]" in block:
            assert scenario_from(tomllib.loads(block), "README.md").moments
        else:
            path = tmp_path / "shipper.toml"
            path.write_text(block, encoding="utf-8")
            assert load(str(path), {}).watches


def test_every_state_of_the_credentials_has_a_row() -> None:
    states = [row[0].strip("`") for row in rows("state")]
    assert states == [state.value for state in CredentialsState]


def test_every_code_that_only_an_operator_can_mend_has_a_row() -> None:
    codes = {code for row in rows("code") for code in quoted(row[0])}
    assert codes >= MISCONFIGURED_CODES | {"HopLimit", "Unreachable", "BadAnswer", "TooOften"}


def test_the_policies_of_the_readme_allow_two_actions_and_no_others() -> None:
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", README, re.DOTALL)]
    actions = {
        action
        for block in blocks
        for statement in block["Statement"]
        for action in [statement["Action"]]
    }
    assert actions == {"sts:AssumeRole", "s3:PutObject", "s3:ListBucket"}

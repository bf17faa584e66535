"""The README says what the code does: this reads both."""

import argparse
import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from shipper.cli.main import COMMANDS, parser
from shipper.config.load import load
from shipper.core.backoff import CredentialsState
from shipper.core.failures import MISCONFIGURED_CODES
from shipper.core.lifecycle import diagram
from shipper.mock.scenario import scenario_from
from shipper.runtime import exit_codes
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
    codes = {code for name, code in vars(exit_codes).items() if name.startswith("EXIT_")}
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

"""The documents say what the code does: this reads both."""

import argparse
import ast
import json
import posixpath
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shipper.cli.main import COMMANDS, parser
from shipper.config.load import load
from shipper.core.backoff import CredentialsState
from shipper.core.failures import MISCONFIGURED_CODES
from shipper.mock.scenario import scenario_from
from shipper.runtime import exit_codes
from tests.machines.diagram import diagram
from tests.machines.documents import (
    PAGES,
    README,
    ROOT,
    anchors,
    blocks,
    links,
    prose,
    quoted,
    rows,
    without_blocks,
)
from tests.machines.instance import Instance

LEVELS = {"debug", "info", "warning", "error", "critical"}
COMMANDS_PAGE = "docs/commands.md"
CONFIGURATION_PAGE = "docs/configuration.md"
IAM_PAGE = "docs/iam.md"
INSTALL_PAGE = "docs/install.md"
OBSERVABILITY_PAGE = "docs/observability.md"
OPERATIONS_PAGE = "docs/operations.md"
HOW_IT_WORKS_PAGE = "docs/how-it-works.md"
PRIVATE_WORDS = (
    "doorbell estate familiar glance house janitor kick mould orphan patience ration ring rouse "
    "twin"
)
"""Metaphors that were names once; the glossary has the word of the field for each."""
DELIVERED = [ROOT / name for name in ("Dockerfile", "Makefile", "pyproject.toml", ".ci/run")]


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
    """Every event of the page with its level."""
    return {name: row[1] for row in rows("event", OBSERVABILITY_PAGE) for name in quoted(row[0])}


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


def documented_keys() -> set[str]:
    """Every configuration key of its page."""
    return {quoted(row[0])[0] for row in rows("key", CONFIGURATION_PAGE)}


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


def documented_commands(page: str) -> dict[str, list[str]]:
    """The row of every command on a page."""
    return {quoted(row[0])[0].split()[1]: row for row in rows("command", page)}


def test_every_command_has_a_row_with_every_option() -> None:
    documented = {
        name: set(re.findall(r"--[a-z0-9-]+", " ".join(row)))
        for name, row in documented_commands(COMMANDS_PAGE).items()
    }
    assert documented == {name: options_of(name) for name in COMMANDS}


@pytest.mark.parametrize("page", [README, COMMANDS_PAGE])
def test_the_row_of_a_command_begins_as_its_help_does(page: str) -> None:
    documented = documented_commands(page)
    assert list(documented) == list(COMMANDS)
    for name, row in documented.items():
        assert row[1].startswith(COMMANDS[name].SUMMARY.partition(":")[0]), name


def test_every_option_of_iam_is_on_its_page() -> None:
    documented = {
        option
        for row in rows("option", IAM_PAGE)
        for option in re.findall(r"--[a-z0-9-]+", row[0])
    }
    assert documented == options_of("iam")


def test_every_document_of_iam_is_on_its_page() -> None:
    documents = {quoted(row[0])[0] for row in rows("document", IAM_PAGE)}
    help_text = subparsers_of(parser())["iam"].format_help()
    assert documents == set(
        re.findall(r"^  ([a-z-]+)  +\w", help_text.split("documents:")[1], re.MULTILINE)
    )


def test_every_option_of_the_installer_is_on_its_page() -> None:
    script = (ROOT / "systemd/install.sh").read_text(encoding="utf-8")
    documented = {quoted(row[0])[0].split()[0] for row in rows("option", INSTALL_PAGE)}
    assert documented == set(re.findall(r"^ +(--[a-z-]+)\)", script, re.MULTILINE))


def test_every_make_target_that_is_mentioned_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
    mentioned = set(re.findall(r"(?:^|`)make ([a-z-]+)", everything(), re.MULTILINE))
    assert {"demo", "test", "check"} <= mentioned <= targets


def test_every_exit_code_has_a_row() -> None:
    codes = {code for name, code in vars(exit_codes).items() if name.startswith("EXIT_")}
    assert {int(row[0]) for row in rows("exit code", COMMANDS_PAGE)} == codes


def test_the_diagram_is_drawn_from_the_table() -> None:
    assert f"```mermaid\n{diagram()}\n```" in PAGES[HOW_IT_WORKS_PAGE]


def test_every_file_that_is_pointed_at_exists() -> None:
    paths = re.findall(r"`((?:shipper|systemd|tests|docs)/[\w/.-]+)`", everything())
    assert len(paths) > 50
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_one_poll_and_one_shipment_are_told_in_fifteen_steps_with_their_modules() -> None:
    text = PAGES[HOW_IT_WORKS_PAGE].partition("## The life of a shipment")[0]
    steps = re.split(r"^\d+\. ", text, flags=re.MULTILINE)[1:]
    assert len(steps) == 15
    assert [step for step in steps if "`shipper/" not in step] == []


def test_the_front_door_is_short() -> None:
    assert len(PAGES[README].splitlines()) <= 150


def test_the_front_door_leads_to_every_page() -> None:
    assert {page for page in PAGES if page != README} <= set(links(README))


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        if path.startswith(("https://", "http://")):
            continue
        to = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
        assert (ROOT / to).exists(), target
        assert not anchor or anchor in anchors(to), target


@pytest.mark.parametrize("page", PAGES)
def test_no_page_speaks_in_private_metaphors(page: str) -> None:
    words = "|".join(PRIVATE_WORDS.split())
    assert re.findall(rf"\b(?:{words})s?\b", prose(page), re.IGNORECASE) == []


def test_nobody_is_told_to_install_the_shipper_of_somebody_else() -> None:
    """PyPI's ``shipper`` is another project."""
    installing = re.compile(
        r"(?:pip3?|pipx|uv|uvx)\s+(?:install|add|wheel|download)\s+(?:-\S+\s+)*['\"]?shipper\b"
        r"|(?<![\w-])shipper\[(?:crt|demo|test|dev)"
    )
    read = [*(ROOT / "shipper").rglob("*.py"), *(ROOT / "systemd").rglob("*"), *DELIVERED]
    texts = {str(path): path.read_text(encoding="utf-8") for path in read if path.is_file()}
    found = {name: installing.findall(text) for name, text in (texts | PAGES).items()}
    assert {name: one for name, one in found.items() if one} == {}
    assert installing.search("pip install --upgrade 'shipper[demo]'")


def test_every_metric_has_a_row_with_its_labels(instance: Any) -> None:
    machine: Instance = instance()
    machine.write("app.log.1", b"a line\n" * 100)
    (machine.logs / "link.log.1").symlink_to("app.log.1")
    machine.start()
    machine.wait_until_shipped(1)
    documented = documented_metrics()
    served: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(machine.ask("/metrics")):
        name = family.name + ("_total" if family.type == "counter" else "")
        served[name] = {label for sample in family.samples for label in sample.labels}
    assert set(documented) == set(served)
    wrong = {name: labels for name, labels in served.items() if labels - documented[name]}
    assert not wrong
    assert served["shipper_unshipped_files"] == {"watch"}
    assert machine.stop() == 0


def documented_metrics() -> dict[str, set[str]]:
    """Every metric of the page with its labels."""
    found = rows("metric", OBSERVABILITY_PAGE)
    return {quoted(row[0])[0]: set(quoted(row[1])) for row in found}


def everything() -> str:
    """All pages."""
    return "\n".join(PAGES.values())


def test_every_metric_that_is_mentioned_has_a_row() -> None:
    assert set(re.findall(r"shipper_[a-z_]+[a-z]\b", everything())) <= set(documented_metrics())


def test_every_event_and_every_key_that_is_mentioned_has_a_row() -> None:
    events, keys = set(documented_events()), documented_keys()
    nouns = {name.partition(".")[0] for name in events | keys}
    mentioned = {
        name
        for page in PAGES
        for name in re.findall(r"`([a-z]+\.[a-z_]+)(?:`| = )", without_blocks(page))
        if name.partition(".")[0] in nouns
    }
    assert len(mentioned & keys) > 20
    assert mentioned - events - keys == set()


def test_every_toml_block_is_a_good_configuration_or_scenario(tmp_path: Path) -> None:
    assert len(blocks("toml")) >= 3
    for block in blocks("toml"):
        if "[[at]]" in block:
            assert scenario_from(tomllib.loads(block), "development.md").moments
        else:
            path = tmp_path / "shipper.toml"
            path.write_text(block, encoding="utf-8")
            assert load(str(path), {}).watches


def test_every_state_of_the_credentials_has_a_row() -> None:
    states = [row[0].strip("`") for row in rows("state", OPERATIONS_PAGE)]
    assert states == [state.value for state in CredentialsState]


def test_every_code_that_only_an_operator_can_mend_has_a_row() -> None:
    codes = {code for row in rows("code", OPERATIONS_PAGE) for code in quoted(row[0])}
    assert codes >= MISCONFIGURED_CODES | {"HopLimit", "Unreachable", "BadAnswer", "TooOften"}


def test_the_policies_of_the_documents_allow_two_actions_and_no_others() -> None:
    actions = {
        action
        for block in map(json.loads, blocks("json"))
        for statement in block["Statement"]
        for action in [statement["Action"]]
    }
    assert actions == {"sts:AssumeRole", "s3:PutObject", "s3:ListBucket"}

"""The manual page and the completions, as systemd/manual.py writes them from the parser."""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shipper.cli.config import DOCUMENTS
from shipper.cli.examples import EXAMPLES
from shipper.cli.main import COMMANDS, parser

ROOT = Path(__file__).parents[2]
Program = Callable[[str], str]


@pytest.fixture(scope="module")
def usr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What would be below ``/usr``."""
    to = tmp_path_factory.mktemp("usr")
    subprocess.run([sys.executable, ROOT / "systemd/manual.py", to], check=True, timeout=60)
    return to


def options_of(command: str) -> set[str]:
    whole = parser()
    [commands] = [one for one in whole._actions if isinstance(one, argparse._SubParsersAction)]
    found: argparse.ArgumentParser = commands.choices[command]
    return {flag for action in found._actions for flag in action.option_strings}


def completed(usr: Path, line: str, directory: Path | None = None) -> set[str]:
    """What bash offers for the last word of the line, by the function that it would call."""
    script = """
        source "$1"; shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
        function=$(complete -p shipper | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        compopt() { :; }
        "$function" shipper "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    words = [*line.split(" ")]
    path = usr / "share/bash-completion/completions/shipper"
    found = subprocess.run(
        ["bash", "-c", script, "bash", path, *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        cwd=directory,
    )
    assert found.stderr == ""
    return set(found.stdout.split())


def test_bash_completes_commands_options_documents_and_files(usr: Path, tmp_path: Path) -> None:
    assert completed(usr, "shipper ") >= set(COMMANDS)
    assert completed(usr, "shipper re") == {"retry"}
    assert completed(usr, "shipper config ") == set(DOCUMENTS)
    (tmp_path / "my.toml").touch()
    assert completed(usr, "shipper check --config my", tmp_path) == {"my.toml"}
    assert completed(usr, "shipper init --output m", tmp_path) == {"my.toml"}


@pytest.mark.parametrize("command", COMMANDS)
def test_bash_completes_every_option(usr: Path, command: str) -> None:
    assert completed(usr, f"shipper {command} -") == options_of(command)


@pytest.mark.parametrize(
    "name", ["zsh/site-functions/_shipper", "fish/vendor_completions.d/shipper.fish"]
)
def test_other_shells_have_every_command_and_option(usr: Path, name: str) -> None:
    text = (usr / "share" / name).read_text(encoding="utf-8")
    assert [command for command in COMMANDS if command not in text] == []
    assert [flag for flag in options_of("init") if flag.lstrip("-") not in text] == []


@pytest.mark.system
@pytest.mark.parametrize(
    ("shell", "name"),
    [("zsh", "zsh/site-functions/_shipper"), ("fish", "fish/vendor_completions.d/shipper.fish")],
)
def test_other_shells_parse_theirs(usr: Path, shell: str, name: str, program: Program) -> None:
    command = [program(shell), "-n", str(usr / "share" / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.system
def test_the_page_is_shown_without_a_warning(usr: Path, program: Program) -> None:
    page = str(usr / "share/man/man1/shipper.1")
    command = [program("groff"), "-man", "-Tutf8", "-ww", "-P-cbou", page]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert done.stderr == ""
    assert "SYNOPSIS" in done.stdout


def test_the_page_has_a_part_and_two_examples_for_every_command(usr: Path) -> None:
    text = (usr / "share/man/man1/shipper.1").read_text(encoding="utf-8").replace("\\-", "-")
    assert ".SH NAME\nshipper - Puts every rotated log file" in text
    for command in COMMANDS:
        assert f".SS \\fBshipper {command}\\fR" in text, command
        for flag in options_of(command) - {"-h", "--help"}:
            assert f"\\fB{flag}\\fR" in text.partition(f"shipper {command}\\fR")[2], flag
    for words, says in (example for each in EXAMPLES.values() for example in each):
        assert f".B shipper {words}\n{says}\n" in text


def test_the_installer_removes_what_this_writes(usr: Path) -> None:
    written = {f"/usr/{path.relative_to(usr)}" for path in usr.rglob("*") if path.is_file()}
    text = (ROOT / "systemd/install.sh").read_text(encoding="utf-8")
    listed = text.partition("generated() {")[2].partition("LIST'\n")[2].partition("LIST\n")[0]
    assert set(listed.split()) == written


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_ends_with_two_examples_that_are_right(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = EXAMPLES[command]
    assert len(examples) == 2
    for words, _ in examples:
        assert parser().parse_args(shlex.split(words)).command == command
    with pytest.raises(SystemExit):
        parser().parse_args([command, "--help"])
    shown = capsys.readouterr().out
    said = "\n".join(f"  shipper {words}\n      {says}" for words, says in examples)
    assert shown.endswith(f"\n\nexamples:\n{said}\n")
    assert shown.count("examples:") == 1


def test_the_help_of_all_commands_has_no_examples_of_its_own() -> None:
    assert "examples:" not in parser().format_help()
    assert set(EXAMPLES) == set(COMMANDS)

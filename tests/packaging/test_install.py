"""The installer: what it puts where, twice, and what it leaves when it is gone."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import shipper
from shipper.cli.init import SCHEMA
from shipper.config.schema_json import schema

ROOT = Path(__file__).parents[2]
INSTALLER = ROOT / "systemd" / "install.sh"
Program = Callable[[str], str]


def install(*arguments: str | Path, code: int = 0) -> str:
    """Run the installer; all it said."""
    found = subprocess.run(
        [INSTALLER, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHON"},
    )
    assert found.returncode == code, found.stdout + found.stderr
    return found.stdout + found.stderr


def tree(root: Path) -> dict[str, int]:
    """Every path below with its mode."""
    return {
        str(path.relative_to(root)): path.lstat().st_mode
        for path in root.rglob("*")
        if "site-packages/" not in str(path)
    }


def test_every_script_is_without_fault(program: Program) -> None:
    scripts = [
        path
        for path in [*(ROOT / "systemd").rglob("*"), ROOT / ".ci" / "run"]
        if path.is_file() and path.read_bytes().startswith(b"#!")
    ]
    assert INSTALLER in scripts
    found = subprocess.run(
        [program("shellcheck"), *scripts], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout


def test_a_wrong_word_is_usage() -> None:
    assert "--uninstall" in install("--unistall", code=64)
    assert "needs a directory" in install("--offline", "/no/such/wheels", code=64)


def test_what_the_package_owns_is_not_installed_over(tmp_path: Path) -> None:
    owned = tmp_path / "var/lib/dpkg/info"
    owned.mkdir(parents=True)
    (owned / "shipper.list").touch()
    assert "Debian package" in install("--root", tmp_path, code=1)


def test_two_directories_change_places_and_neither_is_missing_in_between(tmp_path: Path) -> None:
    text = INSTALLER.read_text(encoding="utf-8")
    function = "exchange() {" + text.partition("exchange() {")[2].partition("\n}\n")[0] + "\n}\n"
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    found: list[bool] = []
    script = function + 'for n in $(seq 5); do exchange "$1" "$2" "$3" || exit 1; done'
    command: list[str | Path] = [
        "bash",
        "-c",
        script,
        "bash",
        sys.executable,
        tmp_path / "new",
        tmp_path / "old",
    ]
    with subprocess.Popen(command) as child:
        while child.poll() is None:
            found.append((tmp_path / "old").is_dir())
    assert child.returncode == 0
    assert all(found)
    assert (tmp_path / "old" / "new").exists()


def test_a_first_installation_that_was_interrupted_is_taken_up_as_the_first(
    tmp_path: Path,
) -> None:
    """Else nothing would ever enable the daemon. ``start`` is told whether to."""
    text = INSTALLER.read_text(encoding="utf-8")
    end = text[text.index("finished=$root") :].replace('[ -n "$root" ]', "false")
    script = """set -euo pipefail; root=$1
    install_environment() { :; }; label() { :; }; say() { :; }
    install_files() { mkdir -p "$root/usr/lib/systemd/system" "$root/usr/lib/shipper"
                      touch "$root/usr/lib/systemd/system/shipper.service"; }
    make_user() { [ "$interrupted" = no ]; }
    start() { echo "upgrade: $is_upgrade"; }
    """

    def run(interrupted: str) -> str:
        environment = {"PATH": os.environ["PATH"], "interrupted": interrupted}
        command = ["bash", "-c", script + end, "bash", str(tmp_path)]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment
        ).stdout

    said = [run(interrupted) for interrupted in ("yes", "no", "no")]
    assert said == ["", "upgrade: no\n", "upgrade: yes\n"]


def functions(first: str, until: str) -> str:
    """A part of the installer, for a shell that has told it where everything is."""
    text = INSTALLER.read_text(encoding="utf-8")
    part = text[text.index(first) : text.index(until)]
    return f'set -euo pipefail; source=$1 root=$2 wheelhouse=""; say() {{ echo "$*"; }}\n{part}'


@pytest.mark.parametrize("fails", ["pip", "manual.py"])
def test_the_schema_is_there_whatever_becomes_of_the_manual(tmp_path: Path, fails: str) -> None:
    source, root = tmp_path / "source", tmp_path / "root"
    programs = {
        "new": f'exec {sys.executable} "$@"',
        "pip": f"exit {int(fails == 'pip')}",
    }
    for name, body in programs.items():
        path = tmp_path / name / "bin" / "python"
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    (source / "systemd").mkdir(parents=True)
    (source / "systemd/manual.py").write_text("raise ValueError('of another version')\n")
    script = functions("# The schema for editors", "# renameat2(2)")
    script += 'build_schema "$3/new"; build_manual "$3/new" "$3"; echo finished'
    done = subprocess.run(
        ["bash", "-c", script, "bash", source, root, tmp_path],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.startswith("no manual page and no completion")
    assert done.stdout.endswith("finished\n")
    assert ("of another version" in done.stderr) == (fails == "manual.py")
    path = root / SCHEMA.removeprefix("file:///")
    assert json.loads(path.read_text(encoding="utf-8")) == schema()
    assert path.stat().st_mode & 0o777 == 0o644


def test_what_the_installed_pages_link_to_among_the_documents_is_installed() -> None:
    script = functions("files() {", "# The environment goes on") + "files"
    listed = subprocess.run(
        ["bash", "-c", script, "bash", ROOT, ""], capture_output=True, text=True, check=True
    ).stdout
    to = {line.split()[1]: line.split()[2] for line in listed.splitlines()}
    for path in [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs/schemas").iterdir()]:
        name = str(path.relative_to(ROOT))
        assert to[name] == f"/usr/share/doc/shipper/{name}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_journal_that_root_left_is_handed_to_the_daemon(tmp_path: Path) -> None:
    """With another number and place for the user shipper, whom this machine may not have."""
    state = tmp_path / "shipper"
    state.mkdir()
    (state / "journal.db").touch(mode=0o600)
    text = INSTALLER.read_text(encoding="utf-8").partition("make_user() {")[2].partition("\n}")[0]
    body = text.replace("/var/lib/shipper", str(state)).replace("shipper:shipper", "65534:65534")
    body = body.replace("-o shipper -g shipper", "-o 65534 -g 65534")
    stub = "systemd-sysusers() { :; }\n"
    subprocess.run(["bash", "-euc", stub + body], check=True)
    assert {path.stat().st_uid for path in (state, state / "journal.db")} == {65534}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_tree_is_installed_twice_without_a_network_and_left_as_it_was(tmp_path: Path) -> None:
    wheels, root = tmp_path / "wheels", tmp_path / "root"
    root.mkdir()
    wheel: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--quiet",
        "wheel",
        "--wheel-dir",
        wheels,
    ]
    subprocess.run(
        [*wheel, "--constraint", ROOT / "constraints.txt", f"{ROOT}[crt,manual]"], check=True
    )
    install("--root", root, "--offline", wheels)
    first = tree(root)
    assert {
        "opt/shipper/bin/shipper",
        "usr/bin/shipper",
        "usr/bin/as-shipper",
        "usr/lib/systemd/system/shipper.service",
        "usr/lib/sysusers.d/shipper.conf",
        "usr/lib/tmpfiles.d/shipper.conf",
        "etc/shipper/shipper.toml",
        "usr/share/doc/shipper/docs/operations.md",
        "usr/share/doc/shipper/examples/delete.conf",
        "usr/share/doc/shipper/examples/monitoring/shipper.rules.yml",
        "usr/share/man/man1/shipper.1",
        "usr/share/bash-completion/completions/shipper",
        "usr/share/shipper/shipper.schema.json",
    } <= set(first)
    assert not list(root.rglob("shtab*"))
    configuration = root / "etc/shipper/shipper.toml"
    configuration.write_text("# the operator's\n")
    (root / "opt/.shipper.new").mkdir()  # an installation that was interrupted
    install("--root", root, "--offline", wheels)
    assert tree(root) == first
    assert configuration.read_text() == "# the operator's\n"
    assert_runs_from_where_it_will_be(root)
    install("--root", root, "--uninstall")
    left = {path for path in tree(root) if not (root / path).is_dir()}
    assert left == {"etc/shipper/shipper.toml"}


def assert_runs_from_where_it_will_be(root: Path) -> None:
    """Bound to /opt in a mount namespace of its own; compiled, and for all to read."""
    packages = next((root / "opt/shipper/lib").glob("python3.*/site-packages"))
    sources = set(packages.rglob("*.py"))
    compiled = list(packages.rglob("*.pyc"))
    names = {path.parent.parent / f"{path.name.split('.')[0]}.py" for path in compiled}
    assert sources - names == set()
    assert all(path.lstat().st_mode & 0o022 == 0 for path in sources)
    assert not [path for path in compiled if str(root).encode() in path.read_bytes()]
    if os.geteuid() != 0:
        return
    script = 'mount --bind "$1/opt" /opt && "$1/usr/bin/shipper" --version'
    space = ["unshare", "--mount", "--propagation", "private"]
    command: list[str | Path] = [*space, "sh", "-euc", script, "sh", root]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.stdout == f"shipper {shipper.__version__}\n", said.stderr

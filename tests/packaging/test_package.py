"""What is delivered: the wheel, its versions, the unit, the pins."""

import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import distribution, version
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import shipper

ROOT = Path(__file__).parents[2]
DELIVERED = ("pyproject.toml", "constraints.txt", "Makefile", "Dockerfile", ".ci/run", "README.md")


def run(*arguments: str | Path, cwd: Path = ROOT) -> str:
    """Run a program to its good end; what it printed."""
    found = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the tree with the tools that are installed."""
    source = tmp_path_factory.mktemp("source") / "shipper"
    ignored = shutil.ignore_patterns(".git", ".venv*", ".*_cache", "__pycache__", ".coverage*")
    shutil.copytree(ROOT, source, ignore=ignored)
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, cwd=source)
    [built] = out.glob("*.whl")
    return built


def needed(name: str) -> set[str]:
    """The distributions that one declares to need, and those that they need."""
    wanted = [Requirement(text) for text in distribution(name).requires or ()]
    found = {
        one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})
    }
    return found.union(*(needed(one) for one in found))


@pytest.mark.system
@pytest.mark.lengthy
def test_the_wheel_runs_with_what_it_declares_and_nothing_else(
    wheel: Path, tmp_path: Path
) -> None:
    """In an environment of its own. What it declares comes from this one instead of an index."""
    venv.create(tmp_path / "clean", with_pip=False)
    clean = tmp_path / "clean" / "bin"
    packages = Path(
        run(clean / "python", "-c", "import site; print(site.getsitepackages()[0])")[:-1]
    )
    for one in needed("s3-log-shipper"):
        for path in distribution(one).files or ():
            if ".." not in path.parts and path.suffix != ".pyc":  # a program is elsewhere
                (packages / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path.locate(), packages / path)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    into_clean = (*pip, "--python", clean / "python")
    run(*into_clean, "install", "--quiet", "--no-compile", "--no-index", wheel)
    assert run(clean / "shipper", "--version") == f"shipper {shipper.__version__}\n"
    assert "COMMAND" in run(clean / "shipper", "--help")
    run(clean / "python", "-c", "import shipper.daemon.daemon, shipper.edges.s3.store")
    run(*into_clean, "check")


@pytest.mark.system
def test_the_wheel_holds_the_package_and_nothing_beside_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    packaged = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    source = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "shipper").rglob("*")
        if path.suffix in (".py", ".typed", ".sql")
    }
    assert packaged == source
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_one_version_is_said_everywhere() -> None:
    assert version("s3-log-shipper") == shipper.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", shipper.__version__)


def test_every_dependency_is_pinned_and_no_host_is_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *chain.from_iterable(extras)]
    names = {re.split(r"[\[>=<~]", one)[0].lower().replace("_", "-") for one in wanted}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    assert names - pinned == {"s3-log-shipper"}


@pytest.mark.parametrize("name", DELIVERED)
def test_what_is_delivered_names_no_package_host(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8").lower()
    assert not re.findall(r"index-url|extra-index|find-links|://[^\s/]*pypi|--trusted-host", text)


def test_continuous_integration_calls_the_commands_of_the_readme() -> None:
    lines = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    assert {"make lint", "make test", "make test-system", "make covered"} <= set(lines)
    assert any(line.startswith("export COVERAGE=yes") for line in lines)


def test_the_image_runs_as_a_user_of_its_own() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    final = text.rpartition("\nFROM ")[2]
    assert re.search(r"^USER (?!root|0)\S+", final, re.MULTILINE)
    assert "constraints.txt" in text

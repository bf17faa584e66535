"""Modules that are loaded when they are first used."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipper.edges.later import put_off

PACKAGE = "heavy_one"


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that says when it is loaded."""
    directory = tmp_path / PACKAGE
    directory.mkdir()
    (directory / "__init__.py").write_text("print('loaded')\nANSWER = 42\n")
    (directory / "inner.py").write_text("ANSWER = 43\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def test_it_is_loaded_once_when_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    put_off(PACKAGE)
    one, other = __import__(PACKAGE), __import__(PACKAGE)
    assert capsys.readouterr().out == ""
    assert (one.ANSWER, other.ANSWER) == (42, 42)
    assert __import__(PACKAGE).ANSWER == 42
    assert capsys.readouterr().out == "loaded\n"
    with pytest.raises(AttributeError, match="QUESTION"):
        _ = one.QUESTION


def test_what_is_in_it_can_be_imported(capsys: pytest.CaptureFixture[str]) -> None:
    put_off(PACKAGE)
    assert __import__(f"{PACKAGE}.inner").inner.ANSWER == 43
    assert __import__(PACKAGE, fromlist=["ANSWER"]).ANSWER == 42
    assert capsys.readouterr().out == "loaded\n"


def test_one_that_is_loaded_stays_and_one_that_is_not_here_stays_unknown() -> None:
    before = __import__(PACKAGE)
    put_off(PACKAGE)
    assert sys.modules[PACKAGE] is before
    put_off("nowhere_at_all")
    with pytest.raises(ModuleNotFoundError):
        __import__("nowhere_at_all")


def test_the_daemon_does_without_asyncio() -> None:
    """It is a megabyte of memory and a twentieth of a start."""
    program = (
        "import sys; from shipper.edges.later import put_off; put_off('asyncio'); "
        "import shipper.app.daemon, shipper.app.wiring_carrier, shipper.edges.store; "
        "print([name for name in sys.modules if name.startswith('asyncio.')])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert done.stdout == b"[]\n"

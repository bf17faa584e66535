"""Modules that are loaded when they are first used."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipper.edges.later import put_off

PACKAGE = "heavy_one"
LOADED = "inner\npackage\n"


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that says when it is loaded."""
    directory = tmp_path / PACKAGE
    directory.mkdir()
    (directory / "__init__.py").write_text(
        "from .inner import Kept\nANSWER = 42\nprint('package')\n"
    )
    (directory / "inner.py").write_text("print('inner')\nclass Kept: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def test_who_imported_it_meanwhile_loads_it_when_it_is_used(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with put_off(PACKAGE):
        one, other = __import__(PACKAGE), __import__(PACKAGE)
    assert capsys.readouterr().out == ""
    assert (one.ANSWER, other.Kept) == (42, __import__(PACKAGE).Kept)
    assert capsys.readouterr().out == LOADED
    with pytest.raises(AttributeError, match="QUESTION"):
        _ = one.QUESTION


def test_nobody_else_meets_it(capsys: pytest.CaptureFixture[str]) -> None:
    with put_off(PACKAGE):
        before = __import__(PACKAGE)
    assert PACKAGE not in sys.modules
    inner = __import__(f"{PACKAGE}.inner", fromlist=["Kept"])
    assert capsys.readouterr().out == LOADED
    assert inner.Kept is __import__(PACKAGE).Kept is before.Kept


def test_what_is_used_meanwhile_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    with put_off(PACKAGE):
        assert __import__(PACKAGE).ANSWER == 42
    assert __import__(PACKAGE).ANSWER == 42
    assert capsys.readouterr().out == LOADED


def test_one_that_is_loaded_stays_and_one_that_is_not_here_stays_unknown() -> None:
    before = __import__(PACKAGE)
    with put_off(PACKAGE):
        assert sys.modules[PACKAGE] is before
    assert sys.modules[PACKAGE] is before
    with put_off("nowhere_at_all"):
        pass
    with pytest.raises(ModuleNotFoundError):
        __import__("nowhere_at_all")


def test_the_daemon_does_without_asyncio() -> None:
    """It is a megabyte of memory and a twentieth of a start; also once a library has warned."""
    program = (
        "import shipper.cli.main, shipper.reports.inspect\n"
        "import shipper.daemon.once, shipper.daemon.daemon\n"
        "import logging, sys, shipper.runtime.wiring, shipper.edges.s3.store\n"
        "from shipper.runtime.logs import Redactor, make_logger\n"
        "make_logger('info', 'json', sys.stderr, Redactor()).info('event')\n"
        "logging.getLogger('urllib3').warning('a warning')\n"
        "print([name for name in sys.modules if name.partition('.')[0] == 'asyncio'])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert done.stdout == b"[]\n", done.stderr.decode()

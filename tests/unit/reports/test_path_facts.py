"""Which watch a path belongs to, and whether a scan ever comes there."""

import contextlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.types import Role, Watch, WatchName
from shipper.reports.path_facts import located, resolved


@pytest.fixture
def top(tmp_path: Path) -> Path:
    for name in ("logs/sub", "logs/old", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path.resolve()


def watch(top: Path, **changes: object) -> Watch:
    made = Watch(name=WatchName("app"), directory=str(top / "logs"), exclude=("*.tmp.1",))
    return replace(made, **changes)  # type: ignore[arg-type]  # fields of a Watch


@pytest.mark.parametrize(
    ("path", "role", "because", "has_hint"),
    [
        ("app.log.1", Role.ROTATED, "a name that rotators give", False),
        ("sub/app.log.1", Role.ROTATED, "a name that rotators give", False),
        (
            "app.log",
            Role.LIVE,
            'live: its name matches live = "*.log", so it waits for its rotation',
            False,
        ),
        ("a.tmp.1", None, 'excluded by "*.tmp.1"', False),
        ("notes", None, "no rotator gives such a name", True),
        ("a/" * 64 + "b.log.1", Role.ROTATED, "a name that rotators give", False),
        ("a/" * 65 + "b.log.1", None, "more than 64 directories below the watch's", True),
    ],
    ids=["rotated", "below", "live", "excluded", "stranger", "deep", "too deep"],
)
def test_what_a_watch_makes_of_a_path(
    top: Path, path: str, role: Role | None, because: str, has_hint: bool
) -> None:
    found = located([watch(top)], os.fsencode(top / "logs" / path))
    assert found is not None
    assert (found.path, found.role, found.because) == (os.fsencode(path), role, because)
    assert bool(found.hint) is has_hint


def test_a_live_log_that_is_shipped_as_it_grows_waits_for_no_rotation(top: Path) -> None:
    found = located([watch(top, live_interval_seconds=60.0)], os.fsencode(top / "logs/app.log"))
    assert found is not None
    assert (found.role, found.because) == (Role.LIVE, 'live: its name matches live = "*.log"')


def test_subdirectories_of_a_flat_watch_and_archives_are_not_entered(top: Path) -> None:
    flat = watch(top, recursive=False, archive_directory=str(top / "elsewhere"))
    below = located([flat], os.fsencode(top / "logs/sub/app.log.1"))
    assert below is not None
    assert (below.role, below.hint) == (None, "")
    archived = located([flat], os.fsencode(top / "elsewhere/app.log.1"))
    assert archived is not None
    assert (archived.is_archive, archived.path) == (True, b"app.log.1")
    inside = watch(top, archive_directory=str(top / "logs/old"))
    found = located([inside], os.fsencode(top / "logs/old/app.log.1"))
    assert found is not None
    assert found.is_archive


def test_the_watch_that_ships_it_is_the_one_it_belongs_to(top: Path) -> None:
    live = watch(top, name="live", include=("nothing",))
    stranger = watch(top, name="stranger", include=("nothing",), live=())
    ships = watch(top, name="ships", include=("*.log",))
    found = located([stranger, live, ships], os.fsencode(top / "logs/app.log"))
    assert found is not None
    assert (found.watch.name, found.because) == ("ships", 'included by "*.log"')
    found = located([stranger, live], os.fsencode(top / "logs/app.log"))
    assert found is not None
    assert found.watch.name == "live"
    found = located([stranger], os.fsencode(top / "logs/app.log"))
    assert found is not None
    assert found.because == "no glob of include matches"


def test_links_lead_to_where_they_lead_but_for_the_last_one(top: Path) -> None:
    (top / "way").symlink_to("logs")
    (top / "logs" / "out").symlink_to("../elsewhere")
    (top / "logs" / "link.log.1").symlink_to("app.log.1")
    assert resolved(os.fsencode(top / "logs" / "link.log.1")).endswith(b"/logs/link.log.1")
    through = located([watch(top)], os.fsencode(top / "way" / "app.log.1"))
    assert through is not None
    assert through.role is Role.ROTATED
    linked = watch(top, directory=str(top / "way"))
    assert located([linked], os.fsencode(top / "logs" / "app.log.1")) is not None
    out = located([watch(top)], os.fsencode(top / "logs/out/app.log.1"))
    assert out is not None
    assert (out.role, out.path) == (None, b"out/app.log.1")
    assert out.hint == "watch the directory it leads to"
    assert located([watch(top)], os.fsencode(top / "elsewhere/app.log.1")) is None


def test_relative_paths_dots_and_the_watch_itself(top: Path) -> None:
    with contextlib.chdir(top / "logs"):
        assert resolved(b"app.log.1") == os.fsencode(top / "logs/app.log.1")
        assert resolved(b"sub/") == os.fsencode(top / "logs/sub")
        for path in (b".", b"sub/..", b"../logs/"):
            found = located([watch(top)], path)
            assert found is not None
            assert (found.path, found.role) == (b"", None)
    assert resolved(b"/") == b"/"
    everything = located([watch(top, directory="/")], os.fsencode(top / "app.log.1"))
    assert everything is not None
    assert everything.role is Role.ROTATED

"""What nobody selects, and which of it is likely a log."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.globs import glob_pattern
from shipper.core.left_alone import NAMES_SHOWN, ROTATED, LeftAlone, include_for, likelihood
from shipper.core.siblings import NO_SIBLINGS
from shipper.core.types import RelativePath, Watch

WATCH = Watch("/logs", exclude=("secret*",))
NARROW = replace(WATCH, include=("nginx*",))


@pytest.mark.parametrize("name", [b"app.log.1", b"app.log", b"secret.bak", b"secret.log.1"])
def test_what_is_rotated_live_or_excluded_is_not_left_alone(name: bytes) -> None:
    assert likelihood(WATCH, RelativePath(name), NO_SIBLINGS) is None


def test_a_rotated_name_that_include_keeps_out_is_the_likeliest() -> None:
    assert likelihood(NARROW, RelativePath(b"app.log.1"), NO_SIBLINGS) == ROTATED
    assert likelihood(NARROW, RelativePath(b"nginx.log.1"), NO_SIBLINGS) is None


def test_a_name_is_the_likelier_the_more_it_looks_like_a_log() -> None:
    names = (b"core.bin", b"trace.bin", b"trace.2026w48.bin", b"trace.2026w48.gz")
    assert [likelihood(WATCH, RelativePath(name), NO_SIBLINGS) for name in names] == [0, 1, 2, 3]


@given(st.lists(st.tuples(st.integers(0, ROTATED), st.binary(min_size=1, max_size=3))))
def test_all_are_counted_and_the_likeliest_are_named(files: list[tuple[int, bytes]]) -> None:
    found = LeftAlone()
    for likely, name in files:
        found.add(likely, b"a/", name)
    assert found.files == len(files)
    assert found.rotated == sum(likely == ROTATED for likely, _ in files)
    best = sorted((likely for likely, _ in files), reverse=True)[:NAMES_SHOWN]
    assert len(found.names) == len(best)
    for likely, path in zip(best, found.names, strict=True):
        assert (likely, path.removeprefix(b"a/")) in files


def test_links_to_directories_are_counted_and_the_first_are_named() -> None:
    found = LeftAlone()
    paths = [RelativePath(b"link%d" % number) for number in range(NAMES_SHOWN + 1)]
    for path in paths:
        found.add_link(path)
    assert (found.links, found.links_named, found.files) == (len(paths), paths[:NAMES_SHOWN], 0)


@given(st.lists(st.text("ab*?[]0123456789.-", min_size=1), min_size=1))
def test_the_include_that_is_proposed_matches_every_name(names: list[str]) -> None:
    paths = [RelativePath(b"sub/" + name.encode()) for name in names]
    globs = include_for(paths)
    for path in paths:
        assert any(glob_pattern(each).fullmatch(path) for each in globs)


def test_the_include_that_is_proposed_stands_for_other_numbers() -> None:
    names = [RelativePath(b"w/app-2026w47.txt"), RelativePath(b"app-2026w48.txt")]
    assert include_for(names) == ["app-*w*.txt"]

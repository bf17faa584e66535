"""The globs in a watch's directory."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.globs import glob_pattern, is_wild, may_share, split_directory, within
from shipper.core.roles import is_excluded, overlap, role_and_reason, role_of
from shipper.core.types import RelativePath, Role, Watch

WATCH = Watch("/srv", pattern="*/logs/", exclude=("secret*", "old/**"), include=("app*",))
NAMES = st.text("ab*?", max_size=6).filter(lambda name: "**" not in name)


@pytest.mark.parametrize(
    ("directory", "root", "pattern"),
    [
        ("/var/log", "/var/log", ""),
        ("/srv/*/logs", "/srv", "*/logs/"),
        ("/*", "/", "*/"),
        ("/srv/app-?/x", "/srv", "app-?/x/"),
        ("/srv/a[[]b", "/srv", "a[[]b/"),
        ("/srv/a[b", "/srv/a[b", ""),
    ],
)
def test_a_directory_is_split_at_its_first_glob(directory: str, root: str, pattern: str) -> None:
    assert split_directory(directory) == (root, pattern)
    assert Watch(root, pattern=pattern).whole_directory == directory


def test_globs_of_files_are_about_the_path_below_the_directory_that_matched() -> None:
    def role(path: bytes) -> Role | None:
        return role_of(WATCH, RelativePath(path))

    assert role(b"a/logs/app.log.1") is Role.ROTATED
    assert role(b"a/logs/old/app.log.1") is None
    assert role(b"a/logs/other.log.1") is None
    assert is_excluded(WATCH, RelativePath(b"a/logs/secret.1"))
    assert not is_excluded(WATCH, RelativePath(b"secret.1"))
    wide = replace(WATCH, include=())
    assert role_of(wide, RelativePath(b"a/logs/app.log")) is Role.LIVE
    outside = role_and_reason(wide, RelativePath(b"a/other/app.log.1"))
    assert outside == (None, "in no directory that matches /srv/*/logs")


@pytest.mark.parametrize("path", [b"a/logs", b"app.log.1", b"a/b/logs/x.1", b"/logs/x.1"[1:]])
def test_what_is_above_beside_or_deeper_is_within_no_directory(path: bytes) -> None:
    assert within(WATCH, RelativePath(path)) is None


@given(NAMES, NAMES, st.text("ab", max_size=6))
def test_globs_that_match_the_same_name_may_share_one(one: str, other: str, name: str) -> None:
    def matches(glob: str) -> bool:
        return re.fullmatch(glob.replace("*", ".*").replace("?", "."), name) is not None

    if matches(one) and matches(other):
        assert may_share(one, other)
    assert may_share(one, other) == may_share(other, one)
    if not is_wild(one):
        whole = glob_pattern(f"{other}/").fullmatch(f"{one}/".encode())
        assert may_share(one, other) is (whole is not None)


@pytest.mark.parametrize(
    ("one", "other", "is_shared"),
    [
        ("a[bc]", "ab", True),
        ("ab", "a[!b]", False),
        ("[ab]", "[cd]", True),
        ("a*b", "*c", False),
        ("?", "", False),
    ],
)
def test_classes_are_asked_about_the_character(one: str, other: str, is_shared: bool) -> None:
    assert may_share(one, other) is is_shared
    assert may_share(other, one) is is_shared


@pytest.mark.parametrize(
    ("one", "other", "is_overlap"),
    [
        ("/srv/*/logs", "/srv/a/logs", True),
        ("/srv/*/logs", "/srv", True),
        ("/srv/a*/logs", "/srv/b*/logs", False),
        ("/srv/*/logs", "/srv/*/other", False),
        ("/srv/*/logs", "/srv/*/logs/nginx", True),
        ("/srv/*/logs", "/opt", False),
        ("/*", "/var/log", True),
        ("/srv/*/log?", "/srv/x[1]/logs", True),
    ],
)
def test_watches_whose_directories_may_be_one_overlap(
    one: str, other: str, is_overlap: bool
) -> None:
    first, second = (
        Watch(root, pattern=pattern) for root, pattern in map(split_directory, (one, other))
    )
    assert overlap(first, second) is overlap(second, first) is is_overlap


def test_a_watch_that_is_not_recursive_meets_none_below_it() -> None:
    flat = Watch("/srv", pattern="*/", recursive=False)
    assert not overlap(flat, Watch("/srv", pattern="*/logs/"))
    assert overlap(flat, Watch("/srv/a"))

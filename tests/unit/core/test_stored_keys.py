"""Keys, read backwards: what the template put into one comes out of it."""

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from shipper.core.destinations import DEFAULT_KEY
from shipper.core.object_keys import InstanceFacts, another_key, object_key
from shipper.core.rotated_names import stem_and_extension
from shipper.core.stored_keys import MOST_DAYS, KeyParser, Step, days_between
from shipper.core.types import Compression, ObjectKey, RelativePath, WatchName
from tests.fakes.examples import promise

HIVE = DEFAULT_KEY.replace("{watch}/{instance_id}/", "watch={watch}/instance={instance_id}/")
TEMPLATES = (
    DEFAULT_KEY,
    HIVE,
    "{prefix}{instance_id}/{watch}/{mtime:%Y/%m/%d/%H}/{directory}/{stem}-{digest}{segment}",
    "{prefix}{account_id}/{region}/{tag:Team}/{directory}/{stem}.{digest}{segment}{extension}",
    "{directory}/{stem}.{mtime}.{digest}{segment}{extension}",
)
NAMES = st.binary(min_size=1, max_size=40).filter(
    lambda name: b"\0" not in name and b"/" not in name and name not in (b".", b"..")
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(b"/".join)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
WATCHES = TEXTS.filter(lambda name: "/" not in name and name.isprintable())
DAY = 86_400.0


def at(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()  # type: ignore[arg-type,misc]  # as they are


@example("..", b"a..b/..log.1", "..", 5, "p/", Compression.ZSTD, 0, 1_764_000_000, DEFAULT_KEY)
@example(
    "w",
    b"x.20250101T000000Z.aaaaaaaaaaaa",
    "i",
    0,
    "",
    Compression.ZSTD,
    1,
    1_764_000_000,
    DEFAULT_KEY,
)
@example("w%2E", b"%2E%2E.gz", ".", 7, "a../", Compression.GZIP, 2, 1_764_000_000, DEFAULT_KEY)
@given(
    watch=WATCHES,
    path=PATHS,
    instance=TEXTS,
    raw_start=st.integers(0, 2**50),
    prefix=st.sampled_from(["", "logs/", "a/b c/", "a../", "%2E/", "with+(x)/"]),
    compression=st.sampled_from(Compression),
    again=st.integers(0, 3),
    mtime=st.integers(0, 4_000_000_000),
    template=st.sampled_from(TEMPLATES),
)
def test_a_key_gives_its_fields_back(
    watch: str,
    path: bytes,
    instance: str,
    raw_start: int,
    prefix: str,
    compression: Compression,
    again: int,
    mtime: int,
    template: str,
) -> None:
    facts = InstanceFacts(prefix, instance, "1", "eu-1", tags={"Team": "x/y"})
    one = promise(
        watch=WatchName(watch),
        path=RelativePath(path),
        raw_start=raw_start,
        raw_end=raw_start + 1,
        mtime_ns=mtime * 10**9 + 5,
        compression=compression,
    )
    key = object_key(template, facts, one)
    for _ in range(again if template in TEMPLATES[:2] else 0):
        key = another_key(key)

    found = KeyParser(template, prefix).parsed(key)

    assert found is not None
    name = stem_and_extension(RelativePath(path))
    assert found.stem == name.stem
    assert found.raw_start == raw_start
    if "{watch}" in template:
        assert found.watch == watch
    if "{instance_id}" in template:
        assert found.instance == instance
    if "{directory}" in template:
        assert found.directory == path.rpartition(b"/")[0]
    if found.since_at is not None and found.until_at is not None:
        assert found.since_at <= mtime < found.until_at
    assert (found.since_at is None) is ("{mtime" not in template)


def test_the_default_key_tells_the_second() -> None:
    key = object_key(DEFAULT_KEY, InstanceFacts("logs/", "i-1"), promise(mtime_ns=10**18))
    found = KeyParser(DEFAULT_KEY, "logs/").parsed(key)

    assert found is not None
    assert (found.since_at, found.until_at) == (1e9, 1e9 + 1)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "logs/",
        "other/app/i-1/dt=2025-11-29/a.20251129T000000Z.0123456789ab.zst",
        "logs/app/i-1/dt=2025-11-29/a.20251130T000000Z.0123456789ab.zst",
        "logs/app/i-1/dt=2025-13-29/a.20251329T000000Z.0123456789ab.zst",
        "logs/app/i-1/dt=2025-11-29/a.20251129T000000Z.0123456789xx.zst",
        "logs/app/i-1/dt=2025-11-29/a.20251129T000000Z.0123456789ab.exe",
        "logs/app/i-1/more/dt=2025-11-29/a.20251129T000000Z.0123456789ab.zst",
    ],
)
def test_what_the_template_cannot_have_made_tells_nothing(key: str) -> None:
    assert KeyParser(DEFAULT_KEY, "logs/").parsed(key) is None


@given(st.text(max_size=60))
def test_no_key_breaks_the_parser(key: str) -> None:
    for template in TEMPLATES:
        KeyParser(template, "logs/").parsed(key)
        KeyParser(template, "").parsed(key)


def test_a_key_that_may_be_read_in_two_ways_tells_nothing() -> None:
    parser = KeyParser("{prefix}{watch}-{instance_id}/{digest}", "")

    assert parser.parsed("a-b-c/0123456789ab") is None
    unclear = KeyParser("{stem}{segment}{extension}/{digest}", "")
    assert unclear.parsed("a.gz/0123456789ab") is None
    found = parser.parsed("a-b/0123456789ab")
    assert found is not None
    assert (found.watch, found.instance) == ("a", "b")


@pytest.mark.parametrize(
    ("spec", "since", "until"),
    [
        ("%Y", at(2025, 1, 1), at(2026, 1, 2)),
        ("%Y-%m", at(2025, 2, 1), at(2025, 3, 4)),
        ("%d.%m.%Y", at(2025, 2, 3), at(2025, 2, 4)),
        ("%Y%m%d%H", at(2025, 2, 3, 4), at(2025, 2, 3, 5)),
        ("%Y%m%d%H%M", at(2025, 2, 3, 4, 5), at(2025, 2, 3, 4, 6)),
        ("%H%M%S", None, None),
        ("%A %j %%", None, None),
        ("", at(2025, 2, 3, 4, 5, 6), at(2025, 2, 3, 4, 5, 7)),
        ("%Y%", at(2025, 1, 1), at(2026, 1, 2)),
    ],
)
def test_a_time_is_as_exact_as_its_format(
    spec: str, since: float | None, until: float | None
) -> None:
    template = f"{{prefix}}{{mtime{':' if spec else ''}{spec}}}/{{digest}}"
    one = promise(mtime_ns=int(at(2025, 2, 3, 4, 5, 6)) * 10**9)
    key = object_key(template, InstanceFacts("", "i"), one)

    found = KeyParser(template, "").parsed(key)

    assert found is not None
    assert (found.since_at, found.until_at) == (since, until)


def test_prefixes_are_as_narrow_as_what_is_known() -> None:
    parser = KeyParser(DEFAULT_KEY, "logs/")
    since, until = at(2025, 11, 29, 23), at(2025, 11, 30, 1)
    days = ("2025-11-29", "2025-11-30")

    assert parser.steps(watch="a", instance="i-1", since_at=since, until_at=until) == [
        Step(("logs/a/i-1/dt=",)),
        Step(days, is_period=True),
        Step(("/",)),
    ]
    assert parser.steps(instance="i/1", until_at=until) == [
        Step(("logs/",)),
        Step(()),
        Step(("/i%2F1/dt=",)),
        Step((), is_period=True, last="2025-11-30"),
        Step(("/",)),
    ]
    long = parser.steps(since_at=since, until_at=since + MOST_DAYS * DAY)
    assert long[-2] == Step((), is_period=True, first="2025-11-29", last="2026-01-30")
    assert [long[-2].takes(day) for day in ("2025-11-28", "2025-11-29", "2026-01-31")] == [
        False,
        True,
        False,
    ]


def test_where_no_component_follows_the_listing_begins_there() -> None:
    in_parts = "{prefix}{mtime:%Y/%m/%d}/{stem}{digest}"
    unordered = "{prefix}{mtime:%d-%m-%Y}/{digest}"

    assert KeyParser(in_parts, "p/").steps() == [Step(("p/",))]
    assert KeyParser(in_parts, "p/").steps(since_at=0.0, until_at=DAY / 2) == [
        Step(("p/",)),
        Step(("1970/01/01/",), is_period=True),
    ]
    assert KeyParser("{prefix}{watch}-x/{digest}", "p/").steps() == [Step(("p/",))]
    assert KeyParser(unordered, "").steps(since_at=1.0) == [
        Step(("",)),
        Step(()),
        Step(("/",)),
    ]
    assert KeyParser("{prefix}{digest}", "logs/{tag:Env}/x").steps() == [
        Step(("logs/",)),
        Step(()),
        Step(("/x",)),
    ]
    assert KeyParser("{prefix}{mtime:%Y-%m-%d}.{digest}", "").steps() == [Step(("",))]
    assert KeyParser("{prefix}{mtime:%Y}/", "").steps(since_at=0.0, until_at=1.0) == [
        Step(("",)),
        Step(("1970/",), is_period=True),
    ]


def test_the_count_of_another_key_is_taken_off_names_without_an_extension() -> None:
    key = another_key(ObjectKey("app/0123456789ab"))
    found = KeyParser("{watch}/{digest}", "").parsed(key)

    assert found is not None
    assert found.watch == "app"


def test_a_field_that_is_there_twice_says_the_same_twice() -> None:
    parser = KeyParser("{watch}/{watch}{{}}/{digest}", "")

    assert parser.parsed("a/b{}/0123456789ab") is None
    found = parser.parsed("a/a{}/0123456789ab")
    assert found is not None
    assert found.watch == "a"


@given(st.floats(0, 4e9), st.floats(0, 4e9))
def test_the_days_between_two_times_hold_both(one: float, other: float) -> None:
    since, until = sorted((one, other))
    days = days_between(since, until)

    if days is None:
        assert until - since > (MOST_DAYS - 1) * DAY
        return
    assume(days)
    assert days[0].timestamp() <= since < days[0].timestamp() + DAY
    assert days[-1].timestamp() <= until < days[-1].timestamp() + DAY
    assert all(b.timestamp() - a.timestamp() == DAY for a, b in itertools.pairwise(days))

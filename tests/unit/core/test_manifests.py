"""What a manifest says, where it is, and when the next one is due."""

import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.manifests import (
    SCHEMA,
    SPREAD_SECONDS,
    Beginning,
    Chain,
    Header,
    Line,
    LossEntry,
    ManifestName,
    NoManifest,
    ObjectEntry,
    address_of,
    begun,
    epoch_name,
    first_wait,
    header_of,
    instance_prefix,
    instant,
    line_from,
    lines_of,
    name_from_key,
)

NOW = 1_764_000_000.125
HOUR = 3600.0
CHAIN = Chain("E1", NOW, "first start", "", "i-1", "s3://b/logs/", until_at=NOW)
TEXT = st.text(st.characters(codec="utf-8"))
COUNT = st.integers(0, 2**64 - 1)


def lines(kind: type[Line]) -> st.SearchStrategy[Line]:
    """Such lines, whatever they hold."""
    names = {name: COUNT if of is int else TEXT for name, of in kind.__annotations__.items()}
    return st.builds(kind, **names)


HEADERS = st.builds(
    Header, **{n: COUNT if k is int else TEXT for n, k in Header.__annotations__.items()}
).map(lambda line: replace(line, schema=SCHEMA))
ENTRIES = st.lists(lines(ObjectEntry) | lines(LossEntry))


@given(HEADERS, ENTRIES)
def test_what_is_written_is_read(header: Header, entries: list[Line]) -> None:
    header = replace(header, entries=len(entries))
    written = [header, *entries]
    assert [*lines_of(map(line_from, written))] == written


@given(HEADERS, ENTRIES)
def test_a_line_is_one_line_of_json(header: Header, entries: list[Line]) -> None:
    for line in [header, *entries]:
        text = line_from(line)
        assert text.count(b"\n") == 1
        assert text.endswith(b"\n")
        assert {*json.loads(text)} == {name.rstrip("_") for name in asdict(line)}


def header(entries: int = 0, **other: object) -> bytes:
    found = header_of(
        CHAIN,
        until_at=NOW,
        because="stop",
        interval_seconds=3600.4,
        version="1",
        configuration="c",
        entries=entries,
    )
    return json.dumps(json.loads(line_from(found)) | other).encode()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ([], "it is empty"),
        ([b"{"], "a line is not JSON"),
        ([b"[]"], "a line is no JSON object"),
        ([header(schema=SCHEMA + 1)], f"its schema is {SCHEMA + 1}; this shipper knows {SCHEMA}"),
        ([header(schema=True)], "schema is True"),
        ([header(number="1")], "number is '1'"),
        ([b'{"schema":1}'], "instance is None"),
        ([header(entries=1)], "it has 0 entries and says 1"),
        ([header(), b'{"loss":"gone"}'], "key is None"),
        ([header(), b'{"key":"k"}'], "size is None"),
    ],
)
def test_what_is_no_manifest_is_refused(content: list[bytes], why: str) -> None:
    with pytest.raises(NoManifest, match=why):
        list(lines_of(content))


def test_members_of_a_later_version_are_left_out() -> None:
    (found,) = lines_of([header(later="x")])
    assert isinstance(found, Header)


@given(TEXT, st.integers(1, 10**9))
def test_a_name_is_found_in_its_key(prefix: str, number: int) -> None:
    name = ManifestName(prefix, "i-1", "E1", number)
    assert name_from_key(name.key) == name
    assert name.key.startswith(instance_prefix(prefix, "i-1"))
    assert name.key.startswith(name.chain)


@given(st.integers(1, 10**8 - 2))
def test_keys_come_in_the_order_of_their_numbers(number: int) -> None:
    first, second = (ManifestName("", "i", "E", number + more).key for more in (0, 1))
    assert first < second


@pytest.mark.parametrize(
    "key",
    [
        "logs/app/x.zst",
        "logs/_manifests/instance=i-1/epoch=E1/1.jsonl.zst",
        "logs/_manifests/instance=i-1/epoch=E1/000000001.jsonl.zst",
        "logs/_manifests/instance=i-1/epoch=E1/00000001.jsonl.zst.x",
        "logs/_manifests/instance=i-1/epoch=a/b/00000001.jsonl.zst",
    ],
)
def test_other_keys_name_no_manifest(key: str) -> None:
    assert name_from_key(key) is None


def test_a_destination_has_an_address() -> None:
    assert address_of("", "bucket", "logs/") == "s3://bucket/logs/"
    assert address_of("https://s3.example/", "bucket", "") == "https://s3.example/bucket/"


def test_times_and_epochs_are_as_documented() -> None:
    assert instant(NOW) == "2025-11-24T16:00:00.125Z"
    assert epoch_name(NOW, 0xAB) == "20251124T160000Z-000000ab"


# How an epoch begins.

BEGINNING = Beginning("i-1", "s3://b/logs/", "E2", NOW + 1)


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (None, "first start"),
        (CHAIN, None),
        (replace(CHAIN, is_lost=True), "the journal was lost"),
        (replace(CHAIN, instance="i-0"), "the instance was i-0"),
        (replace(CHAIN, is_off=True), "manifests were off"),
        (
            replace(CHAIN, destination="s3://a/", number=4, sha256="ab"),
            "the destination was s3://a/; 0 of its entries are in no manifest",
        ),
        (
            replace(CHAIN, before="E0", before_number=3, instance="i-0", gap=2),
            "the instance was i-0; 2 of its entries are in no manifest",
        ),
    ],
)
def test_a_chain_goes_on_unless_something_else_is_another(
    before: Chain | None, words: str | None
) -> None:
    chain = begun(before, BEGINNING, "first start")
    assert (chain and chain.begins) == words
    if chain is not None:
        said = (chain.before, chain.before_number, chain.before_sha256)
        known = before or chain
        earlier = known.before, known.before_number, known.before_sha256
        assert said == ((known.epoch, 4, "ab") if known.number else earlier)
        assert (chain.number, chain.sha256, chain.until_at) == (0, "", NOW + 1)


def test_only_the_first_manifest_says_how_the_epoch_began() -> None:
    def of(chain: Chain) -> Header:
        return header_of(
            chain,
            until_at=NOW + 5,
            because="stop",
            interval_seconds=60,
            version="1",
            configuration="",
            entries=0,
        )

    before = replace(CHAIN, before="E0", before_number=5, before_sha256="def")
    first = of(before)
    assert (first.number, first.begins, first.before) == (1, "first start", "E0")
    assert (first.before_number, first.before_sha256) == (5, "def")
    later = of(replace(before, number=7, sha256="abc"))
    assert (later.number, later.begins, later.before) == (8, "", "")
    assert (later.before_number, later.before_sha256) == (0, "")
    assert later.previous == "abc"


# When the first one after a start is due.


@given(
    st.integers(0, 3),
    st.floats(-1e8, 1e8),
    st.floats(60.0, 1e6),
    st.floats(0, 1, exclude_max=True),
)
def test_no_start_waits_longer_than_an_interval(
    number: int, late: float, interval: float, jitter: float
) -> None:
    chain = replace(CHAIN, number=number)
    assert 0 <= first_wait(chain, NOW + late, interval, jitter) <= interval


def test_a_chain_goes_on_an_interval_after_its_last_manifest() -> None:
    chain = replace(CHAIN, number=1)
    assert first_wait(chain, NOW + 600, HOUR, 0.5) == 3000.0
    assert first_wait(chain, NOW + 2 * HOUR, HOUR, 0.5) == SPREAD_SECONDS / 2
    assert first_wait(chain, NOW - 2 * HOUR, HOUR, 0.5) == HOUR

"""Keys: readable, unique by construction, harmless."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.destinations import DEFAULT_KEY
from shipper.core.object_keys import (
    InstanceFacts,
    KeyBeginning,
    another_key,
    key_beginning,
    object_key,
    object_metadata,
    printable,
    tags_in,
    template_problems,
)
from shipper.core.types import Compression, FileId, ObjectKey, RelativePath, WatchName
from tests.fakes.examples import promise, shipment

FACTS = InstanceFacts(
    prefix="logs/",
    instance_id="i-1",
    account_id="123456789012",
    region="eu-central-1",
    availability_zone="eu-central-1a",
    hostname="web-1",
    tags={"Team": "shop/α"},
)
NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name)


def key(template: str = DEFAULT_KEY, **changes: Any) -> str:
    segment = promise(
        watch=WatchName("nginx"),
        path=RelativePath(b"deep/access.log.1"),
        file_id=FileId(7, 4, "head"),
        mtime_ns=1_764_000_000_123_456_789,
    )
    return object_key(template, FACTS, replace(segment, **changes))


@given(st.integers(-(2**70), 2**70))
def test_there_is_a_key_for_every_mtime(mtime_ns: int) -> None:
    assert key("{mtime:%Y-%m-%d}-{digest}", mtime_ns=mtime_ns).isascii()


@pytest.mark.parametrize(
    ("mtime_ns", "text"),
    [(-1_500_000_000, "-1.500000000"), (-1, "-0.000000001"), (1_000_000_001, "1.000000001")],
)
def test_the_metadata_tell_an_mtime_before_1970_as_stat_does(mtime_ns: int, text: str) -> None:
    metadata = object_metadata(shipment(mtime_ns=mtime_ns), "/logs", FACTS)
    assert metadata["source-mtime"] == text


def test_the_default_key_is_the_contracts() -> None:
    digest = key("{digest}")
    assert key() == f"logs/nginx/i-1/dt=2025-11-24/access.log.20251124T160000Z.{digest}.zst"


def test_every_field_has_a_value() -> None:
    template = (
        "{account_id} {region} {availability_zone} {hostname} {directory} {stem} {tag:Team}"
        " {tag:None} {segment} {digest}"
    )
    assert key(template, raw_start=50).split(" ")[:9] == [
        "123456789012",
        "eu-central-1",
        "eu-central-1a",
        "web-1",
        "deep",
        "access.log",
        "shop%2Fα",
        "",
        ".at50",
    ]


@pytest.mark.parametrize(
    ("path", "compression", "extension"),
    [
        (b"a.log.1", Compression.ZSTD, ".zst"),
        (b"a.log.1", Compression.GZIP, ".gz"),
        (b"a.log.1", Compression.NONE, ""),
        (b"a.log.1.xz", Compression.NONE, ".xz"),
    ],
)
def test_the_extension_says_how_to_read_it(
    path: bytes, compression: Compression, extension: str
) -> None:
    found = key("{stem}{digest}{extension}", path=RelativePath(path), compression=compression)
    assert found.endswith(extension)
    assert ("." in found.removeprefix("a.log")) is bool(extension)


@pytest.mark.parametrize(
    "change",
    [
        {"file_id": FileId(8, 4, "head")},
        {"file_id": FileId(7, 4, "other")},
        {"raw_start": 1},
        {"raw_end": 101},
        {"mtime_ns": 1_764_000_000_123_456_788},
        {"tail_digest": "other"},
    ],
)
def test_whatever_tells_two_promises_apart_is_in_the_digest(change: dict[str, Any]) -> None:
    assert key("{digest}", **change) != key("{digest}")


def test_a_renamed_file_keeps_its_key() -> None:
    assert key(path=RelativePath(b"deep/access.log.2")) == key()


@given(NAMES, NAMES)
def test_no_name_makes_a_key_that_is_dangerous(directory: bytes, name: bytes) -> None:
    found = key("{directory}/{stem}/{digest}", path=RelativePath(directory + b"/" + name))
    assert ".." not in found
    assert not found.startswith("/")
    assert found.isprintable()


@given(NAMES, NAMES)
def test_different_names_stay_different(one: bytes, other: bytes) -> None:
    assert (printable(one) == printable(other)) is (one == other)


def test_what_is_not_printable_utf_8_is_percent_encoded() -> None:
    assert printable(b"caf\xe9 \xc3\xa9\n%") == "caf%E9 é%0A%25"


def test_tags_are_found_in_a_template() -> None:
    assert tags_in("{tag:Team}/{tag:Name}{digest}") == {"Team", "Name"}


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{nope}{digest}", "unknown field {nope}"),
        ("{stem}", "must contain {digest}"),
        ("{digest", "is not a template"),
        ("{tag}{digest}", "{tag} needs a tag's name"),
        ("{stem:>10}{digest}", "{stem} takes no format"),
        ("{digest!x}", "{digest!x} is not possible"),
    ],
)
def test_a_bad_template_is_explained(template: str, problem: str) -> None:
    assert any(problem in found for found in template_problems(template))


def test_the_default_template_is_good() -> None:
    assert template_problems(DEFAULT_KEY) == []


@given(st.text(alphabet="ab./", min_size=1, max_size=12).map(ObjectKey))
def test_another_key_is_always_a_new_one_and_stays_in_its_directory(taken: ObjectKey) -> None:
    seen = {taken}
    found = taken
    for _ in range(5):
        found = another_key(found)
        assert found not in seen
        assert found.rpartition("/")[0] == taken.rpartition("/")[0]
        seen.add(found)


def test_another_key_counts_up_before_the_extension() -> None:
    assert another_key(ObjectKey("a/x.log.d1.zst")) == "a/x.log.d1.2.zst"
    assert another_key(ObjectKey("a/x.log.d1.2.zst")) == "a/x.log.d1.3.zst"


@given(NAMES)
def test_metadata_is_ascii_and_below_two_kilobytes(name: bytes) -> None:
    path = RelativePath(name * 60)
    found = object_metadata(shipment(path=path, mtime_ns=1_000_000_001), "/logs", FACTS)
    assert all(value.isascii() and value.isprintable() for value in found.values())
    assert sum(len(name) + len(value) for name, value in found.items()) < 2048
    assert found["source-mtime"] == "1.000000001"


@pytest.mark.parametrize(
    ("template", "beginning"),
    [
        (DEFAULT_KEY, KeyBeginning("logs/", "watch", "/")),
        ("{digest}", KeyBeginning("", "digest", "")),
        ("{prefix}{stem}/{digest}", KeyBeginning("logs/", "stem", "/")),
        ("/{{{watch}}}-{region}.{digest}", KeyBeginning("{", "watch", "}")),
        ("a.b/c.d.{digest}", KeyBeginning("a.b/c", "digest", "")),
        ("{prefix}x..{digest}/x", KeyBeginning("logs/x", "digest", "/x")),
        ("a.b/c.d.{digest}/x", KeyBeginning("a.b/c.d", "digest", "/x")),
    ],
)
def test_the_beginning_is_what_all_keys_begin_with(template: str, beginning: KeyBeginning) -> None:
    assert key_beginning(template, FACTS.prefix) == beginning
    ours = ObjectKey(key(template))
    assert ours.startswith(beginning.text)
    assert another_key(ours).startswith(beginning.text)


_FIELDS = st.sampled_from(["prefix", "watch", "instance_id", "tag:Team", "stem", "directory"])
_WORDS = st.sampled_from([".", "..", "/", "x", "dt=", "{{", "}}", "a.b"])


@given(st.lists(st.one_of(_FIELDS.map("{{{}}}".format), _WORDS), max_size=8), NAMES)
def test_every_key_begins_with_the_beginning(pieces: list[str], name: bytes) -> None:
    template = "".join([*pieces, "{digest}", *reversed(pieces)])
    prefix = key_beginning(template, FACTS.prefix).text
    ours = ObjectKey(key(template, path=RelativePath(name)))
    assert ours.startswith(prefix)
    assert another_key(ours).startswith(prefix)


@pytest.mark.parametrize("odd", ["../../x", "a/../b", "/", "..", ".", "a\nb", "\x1b[2J", "\ud800"])
def test_an_odd_answer_of_the_metadata_service_leads_to_no_other_prefix(odd: str) -> None:
    facts = InstanceFacts("logs/", odd, odd, odd, odd, odd, {"Team": odd})
    fields = ("instance_id", "account_id", "region", "availability_zone", "hostname", "tag:Team")
    template = "{prefix}" + "/".join(f"{{{field}}}" for field in fields) + "/{digest}"
    found = object_key(template, facts, promise())
    parts = found.split("/")
    assert parts[0] == "logs"
    assert len(parts) == 1 + len(fields) + 1
    assert not {"", ".", ".."} & set(parts)
    assert found.isprintable()
    assert object_metadata(shipment(), "/logs", facts)["instance-id"].isascii()

"""Which buckets the options of a reading command name."""

import argparse
from pathlib import Path

import pytest

from shipper.archive.buckets import KeyLayout, ReadBucket
from shipper.cli.main import parser
from shipper.cli.reading import add_reader_options, buckets_from
from shipper.cli.selecting import Chosen
from shipper.config.load import ConfigError
from shipper.core.destinations import DEFAULT_KEY, HIVE_KEY
from shipper.ports import PortError

CONFIGURATION = """
[destination]
bucket = "first"
prefix = "logs/{tag:Env}/"
region = "eu-west-1"

[destinations.audit]
bucket = "second"
endpoint_url = "https://example.test"

[[watch]]
directory = "/var/log/a"
name = "a"

[[watch]]
directory = "/var/log/b"
name = "b"
prefix = "own/"
key = "{prefix}{stem}{mtime:%Y}{digest}{segment}{extension}"

[[watch]]
directory = "/var/log/c"
name = "c"
destination = "audit"
"""


@pytest.fixture(autouse=True)
def nothing_else_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SHIPPER_CONFIG", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setattr("shipper.config.load.DEFAULT_FILE", str(tmp_path / "no.toml"))


def buckets(*words: str) -> list[ReadBucket]:
    own = argparse.ArgumentParser()
    own.add_argument("--config")
    add_reader_options(own)
    with buckets_from(own.parse_args(words)) as found:
        return found


def command(*words: str) -> argparse.Namespace:
    return parser().parse_args(words)


def seen(found: list[ReadBucket]) -> list[tuple[str, str, tuple[KeyLayout, ...]]]:
    return [(one.name, one.prefix, one.layouts) for one in found]


def named(prefix: str) -> tuple[KeyLayout, ...]:
    """The layouts that have a name."""
    return (KeyLayout(prefix), KeyLayout(prefix, HIVE_KEY))


def test_a_bucket_s_name_is_enough() -> None:
    assert seen(buckets("--bucket", "mine")) == [("mine", "logs/", named("logs/"))]
    assert seen(buckets("--bucket", "mine", "--prefix", "")) == [("mine", "", named(""))]


def test_a_configuration_names_every_destination_with_its_layouts_and_those_with_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shipper.toml"
    path.write_text(CONFIGURATION)
    own = "{prefix}{stem}{mtime:%Y}{digest}{segment}{extension}"
    first = (
        KeyLayout("logs/{tag:Env}/", DEFAULT_KEY, "a"),
        KeyLayout("own/", own, "b"),
        KeyLayout("logs/{tag:Env}/", HIVE_KEY),
        *named("own/"),
    )
    second = (KeyLayout("logs/", DEFAULT_KEY, "c"), KeyLayout("logs/", HIVE_KEY))
    expected = [("first", "logs/{tag:Env}/", first), ("second", "logs/", second)]

    assert seen(buckets("--config", str(path))) == expected
    monkeypatch.setenv("SHIPPER_CONFIG", str(path))
    assert seen(buckets("--region", "us-east-2")) == expected
    assert seen(buckets("--bucket", "mine")) == [("mine", "logs/", named("logs/"))]


def test_destinations_in_one_place_are_read_once_with_the_layouts_of_all(tmp_path: Path) -> None:
    path = tmp_path / "shipper.toml"
    path.write_text(
        CONFIGURATION.replace('bucket = "second"', 'bucket = "first"\nstorage_class = "GLACIER"')
        .replace("logs/{tag:Env}/", "logs/")
        .replace('endpoint_url = "https://example.test"', "")
    )
    found = buckets("--config", str(path))
    assert [(one.name, one.prefix) for one in found] == [("first", "logs/")]
    assert {one.watch for one in found[0].layouts} >= {"a", "b", "c"}

    both = path.read_text().replace(
        "[destinations.audit]", '[destinations.audit]\nendpoint_url = "https://two.test"'
    )
    path.write_text(both)
    two = buckets("--config", str(path))
    assert [one.name for one in two] == ["first", "first"]
    with pytest.raises(PortError, match="two servers have a bucket of one name"):
        Chosen(command("cat", "--config", str(path), "--watch", "a"), two).whole()
    same = ("--endpoint-url", "https://one.test")
    assert len(buckets("--config", str(path), *same)) == 1


def test_where_nothing_names_a_bucket_it_is_said_how_to() -> None:
    with pytest.raises(PortError, match="NoBucket") as caught:
        buckets()
    assert "--bucket NAME" in caught.value.hint
    with pytest.raises(ConfigError, match="nowhere"):
        buckets("--config", "/nowhere.toml")


@pytest.mark.parametrize("words", [("--bucket", "b", "--config", "f"), ("--prefix", "p")])
def test_options_that_contradict_each_other_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(PortError, match="BadOptions"):
        buckets(*words)


def test_a_bucket_that_only_an_instance_knows_must_be_named(tmp_path: Path) -> None:
    path = tmp_path / "shipper.toml"
    path.write_text(
        '[destination]\nbucket = "logs-{tag:Env}"\n[[watch]]\ndirectory = "/var/log/a"\n'
    )
    with pytest.raises(PortError, match=r"NoBucket.*tags"):
        buckets("--config", str(path))


def test_a_profile_that_does_not_exist_is_named() -> None:
    with pytest.raises(PortError, match=r"NoProfile.*nobody"):
        buckets("--bucket", "mine", "--profile", "nobody")

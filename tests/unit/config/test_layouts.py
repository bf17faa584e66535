"""``key = "hive"``: a layout by its name."""

from dataclasses import replace
from pathlib import Path

import pytest

from shipper.config.load import ConfigError, Configuration, load
from shipper.core.destinations import DEFAULT_KEY, HIVE_KEY
from shipper.core.object_keys import InstanceFacts, KeyBeginning, key_beginning, object_key
from shipper.core.own_keys import own_keys
from shipper.core.types import FileId, RelativePath, WatchName
from tests.fakes.examples import promise

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


def loaded(tmp_path: Path, destination: str = "", watch: str = "") -> Configuration:
    path = tmp_path / "shipper.toml"
    path.write_text(
        f'[destination]\nbucket = "my-bucket"\n{destination}\n'
        f'[[watch]]\ndirectory = "/var/log/nginx"\n{watch}\n'
    )
    return load(str(path), {})


def problems(tmp_path: Path, destination: str = "", watch: str = "") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, destination, watch)
    return [f"{one.key}: {one.what} ({one.right})" for one in caught.value.problems]


def test_the_layout_is_the_default_with_the_columns_names() -> None:
    one = promise(
        watch=WatchName("nginx"),
        path=RelativePath(b"access.log.1"),
        file_id=FileId(7, 4, "head"),
        mtime_ns=1_764_000_000_123_456_789,
    )
    facts = InstanceFacts(prefix="logs/", instance_id="i-1")
    for at in (one, replace(one, raw_start=50)):
        usual = object_key(DEFAULT_KEY, facts, at)
        name = usual.removeprefix("logs/nginx/i-1/dt=2025-11-24/")
        hive = object_key(HIVE_KEY, facts, at)
        assert hive == f"logs/watch=nginx/instance=i-1/dt=2025-11-24/{name}"
    own = own_keys(HIVE_KEY, facts, WatchName("nginx"))
    assert (own.beginning, own.are_alone) == ("logs/watch=nginx/instance=i-1/", True)
    assert key_beginning(HIVE_KEY, "logs/") == KeyBeginning("logs/watch=", "watch", "/instance=")


def test_the_configuration_holds_the_template_wherever_the_name_stands(tmp_path: Path) -> None:
    everywhere = loaded(tmp_path, 'key = "hive"')
    assert everywhere.destination.key == HIVE_KEY
    assert everywhere.destination_of(everywhere.watches[0]).key == HIVE_KEY
    of_one = loaded(tmp_path, watch='key = "hive"')
    assert of_one.destination.key == DEFAULT_KEY
    assert of_one.destination_of(of_one.watches[0]).key == HIVE_KEY
    named = loaded(
        tmp_path, '[destinations.lake]\nbucket = "lake"\nkey = "hive"', 'destination = "lake"'
    )
    assert named.destination_of(named.watches[0]).key == HIVE_KEY


@pytest.mark.parametrize("watch", ["", 'key = "hvie"'])
def test_a_word_that_is_nearly_a_layouts_name_is_explained(tmp_path: Path, watch: str) -> None:
    destination = "" if watch else 'key = "Hive"'
    [problem] = problems(tmp_path, destination, watch)
    assert problem.endswith("(did you mean 'hive'?)")
    assert problem.startswith("watch[0].key: " if watch else "destination.key: ")


def test_a_template_without_digest_is_not_taken_for_a_name(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, 'key = "{stem}"')
    assert problem.endswith("same key ()")


@pytest.mark.parametrize("name", ["a=b", "café", "a b", "what?", "50%", "it's", "[x]"])
def test_a_watchs_name_that_readers_of_columns_would_misread_is_refused(
    tmp_path: Path, name: str
) -> None:
    assert loaded(tmp_path, watch=f'name = "{name}"').watches[0].name == name
    [problem] = problems(tmp_path, 'key = "hive"', f'name = "{name}"')
    assert problem.startswith(f"watch[0].name: {name!r} is not safe in a key of the layout hive")
    loaded(tmp_path, 'key = "hive"', 'name = "web-1.access_log"')


def test_the_layout_is_on_the_page() -> None:
    assert f"\n{HIVE_KEY}\n" in PAGE.read_text()

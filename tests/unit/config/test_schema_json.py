"""The JSON Schema: whatever it refuses, the loader refuses, too; and the other documents."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.config.commented import defaults
from shipper.config.load import ConfigError, load
from shipper.config.schema import TABLES, keys_of
from shipper.config.schema_json import schema
from shipper.config.toml_text import toml_value
from tests.machines.documents import PAGES

SCHEMA = schema()
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
SMALLEST: dict[str, Any] = {
    "destination": {"bucket": "my-bucket"},
    "watch": [{"directory": "/var/log/nginx"}],
}
KEYS = [(table, key.name) for table, kind in TABLES.items() for key in keys_of(kind)]
TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8", min_codepoint=32), max_size=6),
    st.sampled_from(["a", "1", "30s", "1h30m", "500ms", "7d", "16MiB", "5MB", "1024", "1.5s"]),
    st.sampled_from(["", "${HOME}", "${NONE:-1s}", "10 m", " 10m ", "1 MiB / s", "aws:kms"]),
)
VALUES = st.one_of(
    TEXTS,
    st.integers(-3, 3_000),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.one_of(TEXTS, st.integers()), max_size=2),
    st.dictionaries(st.sampled_from(["a", "b-1"]), st.one_of(TEXTS, st.booleans()), max_size=2),
)


def with_value(table: str, key: str, value: Any) -> dict[str, Any]:
    """The smallest configuration with one key more."""
    changed = {**SMALLEST, "watch": [dict(SMALLEST["watch"][0])]}
    place = changed["watch"][0] if table == "watch" else dict(changed.get(table, {}))
    place[key] = value
    return changed if table == "watch" else changed | {table: place}


def blocks() -> list[str]:
    """Every configuration of the documents."""
    found = [
        block
        for page in PAGES.values()
        for block in re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        if "[[at]]" not in block
    ]
    assert len(found) >= 2
    return found


def test_the_schema_is_one_of_draft_7() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@pytest.mark.parametrize("block", blocks())
def test_every_configuration_of_the_documents_is_valid(block: str) -> None:
    VALIDATOR.validate(tomllib.loads(block))


def test_every_key_has_a_description_and_its_default() -> None:
    for table, kind in TABLES.items():
        found = SCHEMA["properties"][table]
        found = found["items"] if table == "watch" else found
        assert found["additionalProperties"] is False
        assert list(found["properties"]) == [key.name for key in keys_of(kind)]
        assert all(one["description"].endswith(".") for one in found["properties"].values())
        for key, one in found["properties"].items():
            assert ("default" in one) == (key not in found["required"]), key
    assert SCHEMA["additionalProperties"] is False


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("destination", "bukket", "x"),
        ("destination", "bucket", 3),
        ("destination", "addressing_style", "dns"),
        ("destination", "tags", {"a": 1}),
        ("watch", "include", "*.log"),
        ("watch", "include", [1]),
        ("watch", "settle", "5"),
        ("watch", "settle", 5),
        ("watch", "compression", "lz4"),
        ("uploads", "part_size", "16 MiBs"),
        ("uploads", "concurrent_files", "4"),
        ("uploads", "concurrent_files", 4.5),
        ("uploads", "bandwidth_limit", "20MiB"),
        ("termination", "spot", "yes"),
        ("scann", "interval", "1s"),
    ],
)
def test_what_is_wrong_is_refused_by_the_schema_and_by_the_loader(
    table: str, key: str, value: Any, tmp_path: Path
) -> None:
    document = with_value(table, key, value)
    assert not VALIDATOR.is_valid(document)
    assert not loads(document, tmp_path)


@pytest.mark.parametrize(("table", "key"), KEYS)
def test_an_empty_text_is_right_or_wrong_for_both(table: str, key: str, tmp_path: Path) -> None:
    document = with_value(table, key, "")
    assert VALIDATOR.is_valid(document) or not loads(document, tmp_path)


def test_what_is_required_is_required_by_both(tmp_path: Path) -> None:
    for table in ("destination", "watch"):
        document = {**SMALLEST, table: [{}] if table == "watch" else {}}
        assert not VALIDATOR.is_valid(document)
        assert not loads(document, tmp_path)


@given(place=st.sampled_from(KEYS), value=VALUES)
def test_what_the_schema_refuses_the_loader_refuses(
    place: tuple[str, str], value: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    document = with_value(*place, value)
    if not VALIDATOR.is_valid(document):
        assert not loads(document, tmp_path_factory.getbasetemp())


@given(value=VALUES)
def test_values_are_written_as_toml_reads_them(value: Any) -> None:
    if isinstance(value, float):
        return
    assert tomllib.loads(f"a = {toml_value(value)}") == {"a": value}


def loads(document: dict[str, Any], directory: Path) -> bool:
    """Whether the loader takes it."""
    lines = [f"{name} = {written(value)}" for name, value in document.items()]
    path = directory / "shipper.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    try:
        load(str(path), {"HOME": "/root"})
    except ConfigError:
        return False
    return True


def written(value: Any) -> str:
    """As ``toml_value``, and floats, which no key takes."""
    match value:
        case float():
            return repr(value)
        case dict():
            return (
                f"{{{', '.join(f'{toml_value(key)} = {written(value[key])}' for key in value)}}}"
            )
        case list():
            return f"[{', '.join(map(written, value))}]"
        case _:
            return toml_value(value)


def test_the_file_of_defaults_is_the_smallest_configuration_once_it_is_complete(
    tmp_path: Path,
) -> None:
    path, smallest = tmp_path / "defaults.toml", tmp_path / "smallest.toml"
    path.write_text(defaults())
    with pytest.raises(ConfigError) as caught:
        load(str(path), {})
    assert [(one.key, one.what) for one in caught.value.problems] == [
        ("destination.bucket", "is missing"),
        ("watch[0].directory", "is missing"),
    ]
    text = defaults().replace("# bucket is required", 'bucket = "my-bucket"')
    text = text.replace("# directory is required", 'directory = "/var/log/nginx"')
    VALIDATOR.validate(tomllib.loads(text))
    path.write_text(text)
    smallest.write_text("\n".join(f"{key} = {toml_value(SMALLEST[key])}" for key in SMALLEST))
    assert load(str(path), {}) == load(str(smallest), {})
    assert {f"{key} = " for _, key in KEYS} <= set(re.findall(r"^\w+ = ", text, re.MULTILINE))
    assert max(map(len, re.findall("^#.*", text, re.MULTILINE))) <= 99

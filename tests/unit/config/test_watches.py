"""Problems that only several watches or several tables have together."""

from pathlib import Path

import pytest

from shipper.config.load import ConfigError, load

DESTINATION = '[destination]\nbucket = "my-bucket"\n'


def problems(tmp_path: Path, text: str) -> list[tuple[str, str, str]]:
    path = tmp_path / "shipper.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(str(path), {})
    return [(one.key, one.what, one.right) for one in caught.value.problems]


def test_watches_that_would_ship_a_file_twice_are_refused(tmp_path: Path) -> None:
    watches = "".join(
        f'[[watch]]\nname = "{name}"\ndirectory = "{directory}"\n'
        for name, directory in (("all", "/var/log"), ("nginx", "/var/log/nginx"), ("x", "/x"))
    )
    assert problems(tmp_path, DESTINATION + watches) == [
        (
            "watch",
            "'all' and 'nginx' would ship the same files twice",
            "tell them apart by include or exclude",
        )
    ]


@pytest.mark.parametrize(
    "key", ["aws_access_key_id", "access_key_id", "secret_access_key", "session_token", "profile"]
)
def test_there_is_no_place_for_keys_and_that_is_said(tmp_path: Path, key: str) -> None:
    text = DESTINATION + f'{key} = "x"\n[[watch]]\ndirectory = "/x"\n'
    [(_, what, right)] = problems(tmp_path, text)
    assert what == "unknown key"
    assert "there is no place for keys" in right


@pytest.mark.parametrize(
    ("prefix", "right"), [("/logs/", '"logs/"'), ("/a/logs", '"a/logs/"'), ("/", '""')]
)
def test_a_prefix_that_begins_with_a_slash_is_refused(
    tmp_path: Path, prefix: str, right: str
) -> None:
    text = DESTINATION + f'prefix = "{prefix}"\n[[watch]]\ndirectory = "/x"\n'
    assert problems(tmp_path, text) == [("destination.prefix", "begins with a slash", right)]


def test_watches_that_meet_through_a_link_or_in_an_archive_are_refused(tmp_path: Path) -> None:
    logs, link, other = tmp_path / "logs", tmp_path / "link", tmp_path / "other"
    logs.mkdir()
    link.symlink_to(logs)
    archive = f'after_upload = "archive"\narchive_directory = "{link}/old"'
    for second in (f'directory = "{link}"', f'directory = "{other}"\n{archive}'):
        file = tmp_path / "shipper.toml"
        file.write_text(
            f'[destination]\nbucket = "my-bucket"\n[[watch]]\ndirectory = "{logs}"\n'
            f'[[watch]]\nname = "second"\n{second}\n'
        )
        with pytest.raises(ConfigError, match="would ship the same files twice"):
            load(str(file), {})

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


@pytest.mark.parametrize(
    ("directory", "key", "what", "right"),
    [
        ("/srv/**/logs", "directory", "'**' is not possible", "subdirectories are watched, too"),
        ("/srv/[z-a]/logs", "directory", "'[z-a]' is not a glob", 'is written "[[]"'),
        ("/srv/*/../logs", "directory", "'..' is not a glob", "/srv/*/logs"),
        ("/*", "name", "'' is not a name", "it becomes part of keys"),
    ],
)
def test_a_directory_whose_globs_say_nothing_is_refused(
    tmp_path: Path, directory: str, key: str, what: str, right: str
) -> None:
    text = DESTINATION + f'[[watch]]\ndirectory = "{directory}"\n'
    [(found, said, instead)] = problems(tmp_path, text)
    assert (found, said) == (f"watch[0].{key}", what)
    assert right in instead


def test_an_archive_may_be_beside_what_matches_and_not_above_it(tmp_path: Path) -> None:
    watch = '[[watch]]\ndirectory = "/srv/*/logs"\nafter_upload = "archive"\n'
    [(key, what, _)] = problems(tmp_path, DESTINATION + f'{watch}archive_directory = "/srv/"\n')
    assert (key, what) == ("watch[0].archive_directory", "is the watched directory")
    path = tmp_path / "good.toml"
    path.write_text(DESTINATION + f'{watch}archive_directory = "/srv/old"\n')
    [found] = load(str(path), {}).watches
    assert (found.name, found.directory, found.pattern) == ("logs", "/srv", "*/logs/")
    assert found.exclude == ()


def test_what_globs_are_made_into_is_no_key(tmp_path: Path) -> None:
    text = DESTINATION + '[[watch]]\ndirectory = "/x"\npattern = "*/"\n'
    [(key, what, _)] = problems(tmp_path, text)
    assert (key, what) == ("watch[0].pattern", "unknown key")

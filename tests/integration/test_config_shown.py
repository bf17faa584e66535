"""``shipper config``: what is in effect, and where each value comes from."""

import json
from pathlib import Path

import pytest

from shipper.cli.main import main
from shipper.config.load import load, load_with_documents
from shipper.config.origins import sections
from tests.machines.here import Here

MAIN = """
[destination]
bucket = "logs-${STAGE}-${STAGE}-${ROOM:-a}"
tags = {team = "${TEAM:-web}"}
[[watch]]
directory = "/var/log/nginx"
recursive = false
archive_directory = "/var/log/nginx/old"
include = ["$${HOME}.log.*", "a$$"]
[scan]
interval = "60s"
"""


def shown(path: Path, environment: dict[str, str]) -> dict[str, dict[str, tuple[str, str]]]:
    """By table, by key: value and origin."""
    configuration, documents = load_with_documents(None, environment, default_file=str(path))
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for number, section in enumerate(sections(configuration, documents, environment)):
        head = section.head if section.head not in found else f"{section.head}{number}"
        found[head] = {one.key: (one.value, one.origin) for one in section.settings}
    return found


def test_every_value_has_the_file_the_variable_or_the_default_that_it_comes_from(
    tmp_path: Path,
) -> None:
    path, more = tmp_path / "shipper.toml", tmp_path / "conf.d" / "app.toml"
    path.write_text(MAIN)
    more.parent.mkdir()
    more.write_text('[[watch]]\ndirectory = "/srv/app"\nexclude = ["${X:-}", "b"]\n')
    environment = {
        "STAGE": "prod",
        "STATE_DIRECTORY": "/var/lib/x:/var/lib/y",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1338",
    }
    more.write_text(more.read_text().replace("${X:-}", "${X:-a}"))
    found = shown(path, environment)
    assert found[""] == {"state_directory": ('"/var/lib/x"', "$STATE_DIRECTORY")}
    destination = found["[destination]"]
    assert destination["bucket"] == ('"logs-prod-prod-a"', f"{path}, ${{STAGE}}, ${{ROOM}}")
    assert destination["tags"] == ('{team = "web"}', f"{path}, ${{TEAM}}")
    assert destination["prefix"] == ('"logs/"', "default")
    watches = [table for head, table in found.items() if head.startswith("[[watch]]")]
    assert watches[0]["name"] == ('"nginx"', "derived")
    assert watches[0]["exclude"] == ('["old/**"]', "derived")
    assert watches[0]["recursive"] == ("false", str(path))
    assert watches[1]["directory"] == ('"/srv/app"', str(more))
    assert watches[1]["exclude"] == ('["a", "b"]', f"{more}, ${{X}}")
    assert found["[scan]"]["interval"] == ('"1m"', str(path))
    endpoint = ('"http://127.0.0.1:1338"', "$AWS_EC2_METADATA_SERVICE_ENDPOINT")
    assert found["[credentials]"]["metadata_endpoint"] == endpoint
    assert found["[credentials]"]["instance_profile_name"] == ('""', "default")
    assert found["[uploads]"]["part_size"] == ('"16MiB"', "default")


def test_a_state_directory_is_the_files_or_the_default(tmp_path: Path) -> None:
    path = tmp_path / "shipper.toml"
    path.write_text(f'state_directory = "/srv/state"\n{MAIN}')
    environment = {"STAGE": "a", "STATE_DIRECTORY": "/x"}
    assert shown(path, environment)[""] == {"state_directory": ('"/srv/state"', str(path))}
    path.write_text(MAIN)
    directory = ('"/var/lib/shipper"', "default")
    assert shown(path, {"STAGE": "a"})[""] == {"state_directory": directory}


def test_what_is_shown_is_a_configuration_with_the_same_meaning(
    tmp_path: Path, here: Here, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del here
    path, again = tmp_path / "shipper.toml", tmp_path / "again.toml"
    path.write_text(MAIN)
    monkeypatch.setenv("STAGE", "prod")
    assert main(["config", "show", "--config", str(path)]) == 0
    text = capsys.readouterr().out
    again.write_text(text.replace('exclude = ["old/**"]', "exclude = []"))
    assert load(str(again), {}) == load(str(path), {"STAGE": "prod"})
    assert f'interval = "1m"  # {path}\n' in text


def test_a_wrong_configuration_is_not_shown(
    tmp_path: Path, here: Here, capsys: pytest.CaptureFixture[str]
) -> None:
    del here
    path = tmp_path / "shipper.toml"
    path.write_text(MAIN)
    assert main(["config", "show", "--config", str(path)]) == 78
    assert "the environment has no STAGE" in capsys.readouterr().err


def test_schema_and_defaults_need_no_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema", "--config", "/no/such/file"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "shipper's configuration"
    assert main(["config", "default", "--config", "/no/such/file"]) == 0
    assert "[uploads]" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        main(["config", "all"])
    assert caught.value.code == 64

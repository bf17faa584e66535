"""The recipes for images: what parsers, schemas and the shell can say of them without AWS."""

import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml

from shipper.config.load import load

RECIPES = Path(__file__).parents[2] / "systemd" / "ami"
BEFORE_SNAPSHOT = "/usr/lib/shipper/before-snapshot"
Program = Callable[[str], str]


def packer() -> dict[str, Any]:
    """The template."""
    with open(RECIPES / "shipper.pkr.hcl", encoding="utf-8") as file:
        found: dict[str, Any] = hcl2.load(file)
    return found


def unquoted(value: Any) -> Any:
    """A literal of HCL as it would be evaluated, as far as these recipes need it."""
    if isinstance(value, str) and value.startswith('"'):
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value


def provisioners() -> list[tuple[str, dict[str, Any]]]:
    """The kind and the settings of each, in order."""
    [build] = packer()["build"]
    return [
        (unquoted(kind), settings)
        for one in build["provisioner"]
        for kind, settings in one.items()
        if not kind.startswith("__")
    ]


def component() -> dict[str, Any]:
    """Image Builder's document."""
    found: dict[str, Any] = yaml.safe_load((RECIPES / "component.yml").read_text("utf-8"))
    return found


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each step of the component with its phase, in order."""
    for phase in component()["phases"]:
        for step in phase["steps"]:
            yield phase["name"], step


def scripts() -> list[str]:
    """Every shell script within a recipe."""
    inline = [
        "\n".join(unquoted(line) for line in settings["inline"])
        for kind, settings in provisioners()
        if kind == "shell"
    ]
    commands = [
        "\n".join(step["inputs"]["commands"])
        for _, step in steps()
        if step["action"] == "ExecuteBash"
    ]
    return [*inline, *commands]


def test_every_variable_of_the_template_is_declared_and_used() -> None:
    text = (RECIPES / "shipper.pkr.hcl").read_text(encoding="utf-8")
    declared = {unquoted(name) for one in packer()["variable"] for name in one}
    assert set(re.findall(r"\bvar\.(\w+)", text)) == declared
    assert set(re.findall(r"-var (\w+)=", text)) <= declared


def test_the_template_asks_for_a_metadata_service_that_shipper_speaks_to() -> None:
    [source] = packer()["source"]
    [(kind, named)] = source.items()
    [(name, settings)] = [one for one in named.items() if not one[0].startswith("__")]
    [build] = packer()["build"]
    assert [unquoted(one) for one in build["sources"]] == [
        f"source.{unquoted(kind)}.{unquoted(name)}"
    ]
    assert unquoted(settings["imds_support"]) == "v2.0"
    [options] = settings["metadata_options"]
    assert unquoted(options["http_tokens"]) == "required"


def test_the_component_is_what_image_builder_reads() -> None:
    document = component()
    assert set(document) == {"name", "description", "schemaVersion", "parameters", "phases"}
    assert document["schemaVersion"] == 1.0
    names = {name for one in document["parameters"] for name in one}
    text = (RECIPES / "component.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"\{\{ (\w+) \}\}", text)) == names
    assert [phase["name"] for phase in document["phases"]] == ["build", "validate", "test"]
    for _, step in steps():
        assert set(step) == {"name", "action", "inputs"}
        assert step["action"] in ("S3Download", "ExecuteBash")
        assert re.fullmatch(r"[A-Za-z0-9_-]{3,128}", step["name"])


def test_what_would_be_baked_in_is_shipped_and_looked_at_last() -> None:
    kind, last = provisioners()[-1]
    assert kind == "shell"
    assert [unquoted(line) for line in last["inline"]] == [BEFORE_SNAPSHOT]
    [validating] = [step for phase, step in steps() if phase == "validate"]
    assert validating["inputs"]["commands"] == [BEFORE_SNAPSHOT]
    text = (RECIPES / "before-snapshot").read_text(encoding="utf-8")
    assert text.index("shipper ship\n") < text.rindex("check --for-image")
    installer = (RECIPES.parent / "install.sh").read_text(encoding="utf-8")
    assert f"755 systemd/ami/before-snapshot {BEFORE_SNAPSHOT}\n" in installer


@pytest.mark.parametrize("script", scripts())
def test_the_shell_in_a_recipe_is_without_fault(program: Program, script: str) -> None:
    checked = [program("shellcheck"), "--shell=bash", "-"]
    found = subprocess.run(checked, input=script, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("script", [one for one in scripts() if "printf" in one])
def test_a_recipe_writes_a_good_configuration(script: str, tmp_path: Path) -> None:
    [line] = re.findall(r"^printf .*?(?=> /etc)", script, re.MULTILINE | re.DOTALL)
    line = line.replace("{{ Bucket }}", "a-bucket").replace("{{ Directory }}", "/var/log/x")
    written = subprocess.run(
        ["bash", "-euc", line],
        capture_output=True,
        text=True,
        check=True,
        env={"BUCKET": "a-bucket", "DIRECTORY": "/var/log/x"},
    ).stdout
    (tmp_path / "shipper.toml").write_text(written)
    configuration = load(str(tmp_path / "shipper.toml"), {})
    assert configuration.destination.bucket == "a-bucket"
    assert [watch.directory for watch in configuration.watches] == ["/var/log/x"]


def test_the_user_data_writes_a_good_configuration(tmp_path: Path) -> None:
    text = (RECIPES / "user-data.yml").read_text(encoding="utf-8")
    assert text.startswith("#cloud-config\n")
    [file] = yaml.safe_load(text)["write_files"]
    assert file["path"] == "/etc/shipper/shipper.toml"
    (tmp_path / "shipper.toml").write_text(file["content"])
    assert load(str(tmp_path / "shipper.toml"), {}).watches


def test_cloud_init_knows_every_word_of_the_user_data(program: Program) -> None:
    command: list[str | Path] = [
        program("cloud-init"),
        "schema",
        "--config-file",
        RECIPES / "user-data.yml",
    ]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_configuration_that_is_installed_names_no_bucket() -> None:
    text = (RECIPES.parent / "shipper.toml").read_text(encoding="utf-8")
    assert "bucket" not in tomllib.loads(text)["destination"]
    whole = tomllib.loads(re.sub(r"(?m)^# (?=bucket =|\[\[|directory =)", "", text))
    assert set(whole) == {"destination", "watch"}

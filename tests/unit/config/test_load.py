"""The configuration: where it is read from, its defaults, and what every key of it does."""

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from shipper.config.load import ConfigError, Configuration, load
from shipper.config.schema import TABLES, Disk, Problem, keys_of
from shipper.core.globs import glob_pattern
from shipper.core.types import AfterUpload, ChecksumAlgorithm, Compression

MIB = 1024 * 1024
Tables = dict[str, dict[str, Any]]

SMALLEST = '[destination]\nbucket = "my-bucket"\n[[watch]]\ndirectory = "/var/log/nginx"\n'

CONTRACT = """
state_directory = "/var/lib/shipper"
[destination]
bucket = "my-bucket"
prefix = "logs/"
key = "{prefix}{watch}/{instance_id}/dt={mtime:%Y-%m-%d}/\
{stem}.{mtime:%Y%m%dT%H%M%SZ}.{digest}{segment}{extension}"
region = ""
endpoint_url = ""
addressing_style = "auto"
use_fips_endpoint = false
use_dualstack_endpoint = false
expected_bucket_owner = ""
storage_class = ""
server_side_encryption = ""
kms_key_id = ""
bucket_key_enabled = false
acl = ""
tags = {}
checksum = "crc64nvme"
conditional_writes = true
sign_payloads = false
role_arn = ""
external_id = ""
object_lock_mode = ""
object_lock_retain = "0s"
content_type = "application/octet-stream"
content_encoding = ""
[[watch]]
name = "nginx"
directory = "/var/log/nginx"
include = []
exclude = []
live = ["*.log"]
recursive = true
compression = "zstd"
compression_level = 1
after_upload = "keep"
after_upload_unproven = false
delete_after = "10m"
archive_directory = ""
settle = "5s"
follow_hard_links = false
live_interval = ""
live_bytes = ""
destination = ""
prefix = ""
key = ""
storage_class = ""
server_side_encryption = ""
kms_key_id = ""
acl = ""
tags = {}
object_lock_mode = ""
object_lock_retain = "0s"
content_type = ""
content_encoding = ""
ignore_older = ""
min_age = ""
expect_every = ""
max_size = ""
[scan]
interval = "30s"
[disk]
high_water = ""
low_water = "75%"
removes_kept = false
[uploads]
max_in_flight = 64
concurrent_files = 4
concurrent_parts = 4
part_size = "16MiB"
memory_limit = "128MiB"
held_files = 256
held_bytes = "1GiB"
bandwidth_limit = ""
start_splay = "0s"
[credentials]
metadata_endpoint = ""
metadata_endpoint_mode = "ipv4"
instance_profile_name = ""
source = "imds"
[instance]
id = ""
account_id = ""
region = ""
availability_zone = ""
[termination]
spot = true
autoscaling = true
rebalance = false
ship_live_files = true
lifecycle_hook = ""
autoscaling_group = ""
lifecycle_timeout = "5m"
[fleet]
heartbeat = ""
[http]
listen = ""
[log]
level = "info"
format = "auto"
[manifest]
interval = "1h"
"""
"""The configuration's keys with every default written down."""

BASE: Tables = {
    "destination": {"bucket": "my-bucket", "server_side_encryption": "aws:kms"},
    "watch": {"name": "web", "directory": "/var/log/nginx", "archive_directory": "/archive"},
}
A_ROLE = "arn:aws-us-gov:iam::123456789012:role/path/logs"
OTHER_VALUES: list[tuple[str, Any, str, Any]] = [
    ("destination.bucket", "another-bucket", "destination.bucket", "another-bucket"),
    ("destination.prefix", "", "destination.prefix", ""),
    ("destination.key", "{digest}", "destination.key", "{digest}"),
    ("destination.region", "eu-west-1", "destination.region", "eu-west-1"),
    ("destination.endpoint_url", "http://[::1]:9000", "destination.endpoint_url", ...),
    ("destination.addressing_style", "path", "destination.addressing_style", "path"),
    ("destination.use_fips_endpoint", True, "destination.use_fips_endpoint", True),
    ("destination.use_dualstack_endpoint", True, "destination.use_dualstack_endpoint", True),
    ("destination.expected_bucket_owner", "1" * 12, "destination.expected_bucket_owner", ...),
    ("destination.storage_class", "STANDARD_IA", "destination.storage_class", "STANDARD_IA"),
    (
        "destination.server_side_encryption",
        "aws:kms:dsse",
        "destination.server_side_encryption",
        ...,
    ),
    ("destination.kms_key_id", "alias/logs", "destination.kms_key_id", "alias/logs"),
    ("destination.bucket_key_enabled", True, "destination.bucket_key_enabled", True),
    ("destination.acl", "bucket-owner-full-control", "destination.acl", ...),
    ("destination.tags", {"b": "2", "a": "1"}, "destination.tags", (("a", "1"), ("b", "2"))),
    ("destination.checksum", "sha256", "destination.checksum", ChecksumAlgorithm.SHA256),
    ("destination.conditional_writes", False, "destination.conditional_writes", False),
    ("destination.sign_payloads", True, "destination.sign_payloads", True),
    ("destination.role_arn", A_ROLE, "destination.role_arn", A_ROLE),
    ("destination.content_type", "text/plain", "destination.content_type", "text/plain"),
    ("destination.content_encoding", "zstd", "destination.content_encoding", "zstd"),
    ("watch.prefix", "web/", "watches.0.prefix", "web/"),
    ("watch.key", "{digest}", "watches.0.key", "{digest}"),
    ("watch.storage_class", "GLACIER_IR", "watches.0.storage_class", "GLACIER_IR"),
    ("watch.server_side_encryption", "AES256", "watches.0.server_side_encryption", "AES256"),
    ("watch.kms_key_id", "alias/web", "watches.0.kms_key_id", "alias/web"),
    ("watch.acl", "private", "watches.0.acl", "private"),
    ("watch.tags", {"a": "1"}, "watches.0.tags", (("a", "1"),)),
    ("watch.content_type", "text/plain", "watches.0.content_type", "text/plain"),
    ("watch.content_encoding", "auto", "watches.0.content_encoding", "auto"),
    ("watch.name", "café", "watches.0.name", "café"),
    ("watch.directory", "/srv/logs//", "watches.0.directory", "/srv/logs"),
    ("watch.include", ["*.log.*", "a/**"], "watches.0.include", ("*.log.*", "a/**")),
    ("watch.exclude", ["*.tmp"], "watches.0.exclude", ("*.tmp",)),
    ("watch.live", [], "watches.0.live", ()),
    ("watch.recursive", False, "watches.0.recursive", False),
    ("watch.compression", "gzip", "watches.0.compression", Compression.GZIP),
    ("watch.compression_level", 19, "watches.0.compression_level", 19),
    ("watch.after_upload", "archive", "watches.0.after_upload", AfterUpload.ARCHIVE),
    ("watch.after_upload_unproven", True, "watches.0.after_upload_unproven", True),
    ("watch.delete_after", "1h30m", "watches.0.delete_after_seconds", 5400.0),
    ("watch.archive_directory", "/elsewhere", "watches.0.archive_directory", "/elsewhere"),
    ("watch.settle", "0s", "watches.0.settle_seconds", 0.0),
    ("watch.follow_hard_links", True, "watches.0.follow_hard_links", True),
    ("watch.live_interval", "5m", "watches.0.live_interval_seconds", 300.0),
    ("watch.live_bytes", "64MiB", "watches.0.live_bytes", 64 * MIB),
    ("watch.ignore_older", "30d", "watches.0.ignore_older_seconds", 30 * 86_400.0),
    ("watch.min_age", "1h", "watches.0.min_age_seconds", 3600.0),
    ("watch.expect_every", "26h", "watches.0.expect_every_seconds", 26 * 3600.0),
    ("watch.max_size", "5GiB", "watches.0.max_size_bytes", 5 * 1024 * MIB),
    ("scan.interval", "100ms", "scan.interval_seconds", 0.1),
    ("disk.high_water", "85.5 %", "disk.high_water_ratio", 0.855),
    ("disk.low_water", "5%", "disk.low_water_ratio", 0.05),
    ("uploads.max_in_flight", 256, "uploads.max_in_flight", 256),
    ("uploads.concurrent_files", 64, "uploads.concurrent_files", 64),
    ("uploads.concurrent_parts", 1, "uploads.concurrent_parts", 1),
    ("uploads.part_size", "5MiB", "uploads.part_size_bytes", 5 * MIB),
    ("uploads.memory_limit", "24MiB", "uploads.memory_limit_bytes", 24 * MIB),
    (
        "uploads.bandwidth_limit",
        "20MiB/s",
        "uploads.bandwidth_limit_bytes_per_second",
        20 * 1024**2,
    ),
    ("uploads.start_splay", "10m", "uploads.start_splay_seconds", 600.0),
    ("uploads.held_files", 0, "uploads.held_files", 0),
    ("uploads.held_bytes", "0", "uploads.held_bytes", 0),
    ("credentials.metadata_endpoint", "http://127.0.0.1:1", "credentials.metadata_endpoint", ...),
    ("credentials.metadata_endpoint_mode", "ipv6", "credentials.metadata_endpoint_mode", "ipv6"),
    ("credentials.instance_profile_name", "web", "credentials.instance_profile_name", "web"),
    ("credentials.source", "auto", "credentials.source", "auto"),
    ("instance.account_id", "1" * 12, "instance.account_id", ...),
    ("instance.region", "eu-west-1", "instance.region", "eu-west-1"),
    ("instance.availability_zone", "eu-west-1a", "instance.availability_zone", "eu-west-1a"),
    ("manifest.interval", "0s", "manifest.interval_seconds", 0.0),
    ("termination.spot", False, "termination.spot", False),
    ("termination.autoscaling", False, "termination.autoscaling", False),
    ("termination.rebalance", True, "termination.rebalance", True),
    ("termination.ship_live_files", False, "termination.ship_live_files", False),
    ("termination.lifecycle_hook", "drain", "termination.lifecycle_hook", "drain"),
    ("termination.lifecycle_timeout", "1h", "termination.lifecycle_timeout_seconds", 3600.0),
    ("fleet.heartbeat", "1h", "fleet.heartbeat_seconds", 3600.0),
    ("http.listen", "[::1]:9464", "http.listen", "[::1]:9464"),
    ("log.level", "debug", "log.level", "debug"),
    ("log.format", "json", "log.format", "json"),
]
"""Key, value, what it becomes in the Configuration, as what (``...``: as it is)."""


def read(directory: Path, text: str, **environment: str) -> Configuration:
    path = directory / "shipper.toml"
    path.write_text(text)
    return load(str(path), environment)


def toml(tables: Tables) -> str:
    lines = []
    for name, table in tables.items():
        lines.append("[[watch]]" if name == "watch" else f"[{name}]")
        lines += [f"{key} = {_value(value)}" for key, value in table.items()]
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


def leaves(configuration: Configuration) -> dict[str, Any]:
    """Every value of a configuration by its dotted place."""
    found: dict[str, Any] = {}

    def walk(facts: str, value: Any) -> None:
        if dataclasses.is_dataclass(value):
            for one in dataclasses.fields(value):
                walk(f"{facts}.{one.name}", getattr(value, one.name))
        elif facts == ".watches":
            for index, watch in enumerate(value):
                walk(f"{facts}.{index}", watch)
        else:
            found[facts.removeprefix(".")] = value

    walk("", configuration)
    return found


def test_the_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    assert read(tmp_path, CONTRACT) == read(tmp_path, SMALLEST)


def test_the_tables_have_the_keys_of_the_contract_and_no_others() -> None:
    contract = tomllib.loads(CONTRACT)
    (contract["watch"],) = contract["watch"]
    del contract["state_directory"]
    assert {name: set(table) for name, table in contract.items()} == {
        name: {key.name for key in keys_of(kind)} for name, kind in TABLES.items()
    }


@pytest.mark.parametrize(
    ("key", "value", "facts", "expected"), OTHER_VALUES, ids=[row[0] for row in OTHER_VALUES]
)
def test_every_key_changes_its_own_part_of_the_configuration(
    tmp_path: Path, key: str, value: Any, facts: str, expected: Any
) -> None:
    table, _, name = key.partition(".")
    changed = {**BASE, table: {**BASE.get(table, {}), name: value}}
    before, after = leaves(read(tmp_path, toml(BASE))), leaves(read(tmp_path, toml(changed)))
    assert after[facts] == (value if expected is ... else expected)
    assert {one for one in after if before[one] != after[one]} == {facts}


def test_no_key_was_forgotten_in_the_test_above() -> None:
    every = {f"{name}.{key.name}" for name, kind in TABLES.items() for key in keys_of(kind)}
    needs_another = {"destination.external_id", "termination.autoscaling_group"}
    needs_another |= {"watch.destination", "watch.object_lock_mode", "watch.object_lock_retain"}
    needs_another |= {"destination.object_lock_mode", "destination.object_lock_retain"}
    needs_another |= {"disk.removes_kept", "instance.id"}
    assert {row[0] for row in OTHER_VALUES} == every - needs_another


def test_kept_files_are_removed_only_above_a_high_water(tmp_path: Path) -> None:
    text = f'{SMALLEST}\n[disk]\nhigh_water = "85%"\nremoves_kept = true\n'
    assert read(tmp_path, text).disk == Disk(0.85, 0.75, removes_kept=True)


def test_a_group_goes_with_a_hook(tmp_path: Path) -> None:
    text = f'{SMALLEST}\n[termination]\nlifecycle_hook = "drain"\nautoscaling_group = "web"\n'
    assert read(tmp_path, text).termination.autoscaling_group == "web"


def test_an_external_id_goes_with_a_role(tmp_path: Path) -> None:
    more = f'role_arn = "{A_ROLE}"\nexternal_id = "xy"'
    text = SMALLEST.replace("[[watch]]", f"{more}\n[[watch]]")
    assert read(tmp_path, text).destination.external_id == "xy"


# Where it is read from.


def write(path: Path, bucket: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SMALLEST.replace("my-bucket", bucket))
    return str(path)


def test_the_option_beats_the_environment_and_that_beats_the_default_file(tmp_path: Path) -> None:
    option = write(tmp_path / "option.toml", "by-option")
    environment = {"SHIPPER_CONFIG": write(tmp_path / "environment.toml", "by-environment")}
    default = write(tmp_path / "default.toml", "by-default")
    assert load(option, environment, default_file=default).destination.bucket == "by-option"
    assert load(None, environment, default_file=default).destination.bucket == "by-environment"
    assert load(None, {}, default_file=default).destination.bucket == "by-default"
    assert (
        load("", {"SHIPPER_CONFIG": ""}, default_file=default).destination.bucket == "by-default"
    )


def test_the_default_file_is_in_etc() -> None:
    assert load.__kwdefaults__ == {"default_file": "/etc/shipper/shipper.toml"}


@pytest.mark.parametrize(
    ("line", "environment", "expected"),
    [
        ("", {}, "/var/lib/shipper"),
        ("", {"STATE_DIRECTORY": "/run/state"}, "/run/state"),
        ("", {"STATE_DIRECTORY": "/run/state:/run/more"}, "/run/state"),
        ("", {"STATE_DIRECTORY": ""}, "/var/lib/shipper"),
        ('state_directory = "/mine"\n', {"STATE_DIRECTORY": "/run/state"}, "/mine"),
        ('state_directory = ""\n', {"STATE_DIRECTORY": "/run/state"}, "/run/state"),
    ],
)
def test_the_state_directory_is_configured_or_systemds_or_the_default(
    tmp_path: Path, line: str, environment: dict[str, str], expected: str
) -> None:
    assert read(tmp_path, line + SMALLEST, **environment).state_directory == expected


def test_files_in_conf_d_add_watches_in_the_order_of_their_names(tmp_path: Path) -> None:
    default = write(tmp_path / "shipper.toml", "my-bucket")
    more = tmp_path / "conf.d"
    more.mkdir()
    (more / "20-b.toml").write_text('[[watch]]\ndirectory = "/b"\n[[watch]]\ndirectory = "/c"\n')
    (more / "10-a.toml").write_text('[[watch]]\ndirectory = "/a"\n')
    (more / "30-empty.toml").write_text("# nothing yet\n")
    (more / "40-d.toml.rpmsave").write_text("this is not read")
    found = load(None, {}, default_file=default)
    assert [watch.name for watch in found.watches] == ["nginx", "a", "b", "c"]
    assert load(default, {}, default_file=default) == found


def test_all_watches_may_be_in_conf_d(tmp_path: Path) -> None:
    default = tmp_path / "shipper.toml"
    default.write_text('[destination]\nbucket = "my-bucket"\n')
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.toml").write_text('[[watch]]\ndirectory = "/a"\n')
    assert [watch.name for watch in load(None, {}, default_file=str(default)).watches] == ["a"]


def test_another_file_than_the_default_has_no_conf_d(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.toml", "my-bucket")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.toml").write_text("this is not read")
    assert len(load(path, {}, default_file=str(tmp_path / "shipper.toml")).watches) == 1


# Files that cannot be read.


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"[destination\n", "is not TOML: Expected ']' at the end of a table declaration"),
        (b"a = 1\na = 2\n", "is not TOML: Cannot overwrite a value"),
        (b"a = 'caf\xe9'\n", "is not TOML: 'utf-8' codec can't decode byte 0xe9"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, "is not TOML: maximum recursion depth"),
    ],
    ids=["syntax", "twice", "latin-1", "deep"],
)
def test_a_file_that_is_not_toml_is_the_one_problem(
    tmp_path: Path, content: bytes, what: str
) -> None:
    path = tmp_path / "shipper.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load(str(path), {})
    (problem,) = refused.value.problems
    assert (problem.file, problem.key) == (str(path), "")
    assert problem.what.startswith(what)


@pytest.mark.parametrize(
    ("name", "what"), [("absent.toml", "No such file or directory"), (".", "Is a directory")]
)
def test_a_file_that_cannot_be_read_is_the_one_problem_and_says_how_to_name_another(
    tmp_path: Path, name: str, what: str
) -> None:
    path = str(tmp_path / name)
    with pytest.raises(ConfigError) as refused:
        load(path, {})
    right = "`shipper init` writes one; --config FILE or $SHIPPER_CONFIG names another"
    assert refused.value.problems == (Problem(path, "", f"cannot be read: {what}", right),)


def test_a_text_without_quotes_is_told_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "shipper.toml"
    path.write_text("bucket = my-logs\n")
    with pytest.raises(ConfigError, match=r"Invalid value .*\(a text needs quotes\)"):
        load(str(path), {})


# What is worked out.


@pytest.mark.parametrize(
    ("directory", "name"), [("/var/log/nginx/", "nginx"), ("/srv/a b", "a b"), ("/x/..x", "..x")]
)
def test_a_watch_is_called_by_the_last_name_of_its_directory(
    tmp_path: Path, directory: str, name: str
) -> None:
    (watch,) = read(tmp_path, SMALLEST.replace("/var/log/nginx", directory)).watches
    assert watch.name == name


@pytest.mark.parametrize(
    ("archive", "archived"),
    [
        ("/var/log/nginx/old", b"old/x/a.log.1"),
        ("/var/log/nginx/..old", b"..old/a.log.1"),
        ("/var/log/nginx/x/../old/", b"old/a.log.1"),
        ("/var/log/nginx/[old]*?", b"[old]*?/a.log.1"),
    ],
)
def test_what_was_archived_inside_the_watch_is_not_found_again(
    tmp_path: Path, archive: str, archived: bytes
) -> None:
    lines = f'exclude = ["*.tmp"]\nafter_upload = "archive"\narchive_directory = "{archive}"\n'
    (watch,) = read(tmp_path, SMALLEST + lines).watches
    first, excluded = watch.exclude
    assert first == "*.tmp"
    assert glob_pattern(excluded).fullmatch(archived)
    assert not glob_pattern(excluded).fullmatch(b"a.log.1")
    assert not glob_pattern(excluded).fullmatch(b"deeper/" + archived)


@pytest.mark.parametrize("archive", ["/var/log", "/var/log/nginx-old", "/archive"])
def test_an_archive_outside_the_watch_excludes_nothing(tmp_path: Path, archive: str) -> None:
    lines = f'after_upload = "archive"\narchive_directory = "{archive}"\n'
    (watch,) = read(tmp_path, SMALLEST + lines).watches
    assert watch.exclude == ()


def test_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "shipper.toml"
    file.write_text(SMALLEST, encoding="utf-8-sig")
    assert load(str(file), {}).destination.bucket == "my-bucket"

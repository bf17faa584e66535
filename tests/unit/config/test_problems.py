"""What is wrong in a configuration: every problem, at once, with its key and what is right."""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shipper.config.load import ConfigError, Configuration, load
from shipper.config.schema import TABLES, Problem, keys_of

BASE = {"destination": 'bucket = "my-bucket"', "watch": 'directory = "/var/log/nginx"'}
QUOTES = "write it in quotes"
NUMBER = "such as 4"
YES_OR_NO = "true | false"
GLOBS = 'write ["*.log.*"]'
GLOB = 'such as "*.log.*", relative to the directory'
DURATION = 'write "30s" or "10m"'
NO_DURATION = 'write "30s", "10m" or "1h30m"'
NO_SIZE = 'write "16MiB", "5MB" or "1024"'
TEXTS = 'write {team = "web"}'
ENCRYPTIONS = "'' | 'AES256' | 'aws:kms' | 'aws:kms:dsse'"
CHECKSUMS = "'crc64nvme' | 'crc32' | 'sha256' | 'md5' | 'none'"
ENCRYPTED = 'server_side_encryption = "aws:kms"'
ARCHIVE = 'after_upload = "archive" needs an absolute path'
NO_DIGEST = "must contain {digest}: without it two logs could get the same key"
BUCKET = "its name alone, such as my-logs, or an access point's ARN or alias"
ACCESS_POINT = "arn:aws:s3:eu-central-1:123456789012:accesspoint/logs"
MULTI_REGION = "arn:aws:s3::123456789012:accesspoint/abcdef.mrap"
A_ROLE = "arn:aws:iam::123456789012:role/NAME"
ASIDE = "a directory inside or outside of it"
NO_KMS = 'server_side_encryption = "kms"'
RATE = 'write "20MiB/s" or "500kB/s"'
TOO_SLOW = "1000 bytes per second are too few for so much memory"
SLOWEST_RATE = 'at least "437KiB/s", or lower memory_limit'
ONE_PART = "at least 25165824 bytes for one part of this size"

UPLOADS = (
    "known: bandwidth_limit, concurrent_files, concurrent_parts, held_bytes, held_files, "
    "max_in_flight, memory_limit, part_size, start_splay"
)

BARE_URL = '"https://HOST:PORT"'

NOT_BELOW = "85 % is not below high_water"
BROKEN = [
    ("destination", "bucket = 3", "3 is not a text", QUOTES),
    ("destination", 'prefix = ["a; b"]', "['a; b'] is not a text", QUOTES),
    ("destination", "region = true", "True is not a text", QUOTES),
    ("destination", "acl = 2026-01-01", "datetime.date(2026, 1, 1) is not a text", QUOTES),
    ("destination", 'use_fips_endpoint = "true"', "'true' is not a yes or no", YES_OR_NO),
    ("destination", "sign_payloads = 1", "1 is not a yes or no", YES_OR_NO),
    ("destination", "addressing_style = 1", "1 is not one of them", "'auto' | 'virtual' | 'path'"),
    ("destination", 'server_side_encryption = "kms"', "'kms' is not one of them", ENCRYPTIONS),
    ("destination", 'checksum = ["none"]', "['none'] is not one of them", CHECKSUMS),
    ("destination", 'tags = "a=b"', "'a=b' is not a table of texts", TEXTS),
    ("destination", "tags = {a = 1}", "{'a': 1} is not a table of texts", TEXTS),
    ("watch", 'recursive = "no"', "'no' is not a yes or no", YES_OR_NO),
    ("watch", "follow_hard_links = 0", "0 is not a yes or no", YES_OR_NO),
    ("watch", 'include = "*.log"', "'*.log' is not a list of texts", GLOBS),
    ("watch", "exclude = [1]", "[1] is not a list of texts", GLOBS),
    ("watch", "live = true", "True is not a list of texts", GLOBS),
    ("watch", 'compression = "lz4"', "'lz4' is not one of them", "'zstd' | 'gzip' | 'none'"),
    ("watch", 'compression_level = "3"', "'3' is not a whole number", NUMBER),
    (
        "watch",
        'after_upload = "Keep"',
        "'Keep' is not one of them",
        "'keep' | 'delete' | 'archive'",
    ),
    ("watch", "delete_after = 600", "600 is not a text", DURATION),
    ("watch", "archive_directory = 1", "1 is not a text", QUOTES),
    ("scan", "interval = 30.0", "30.0 is not a text", DURATION),
    ("uploads", "concurrent_files = true", "True is not a whole number", NUMBER),
    ("uploads", "concurrent_parts = 4.0", "4.0 is not a whole number", NUMBER),
    ("uploads", "part_size = 16777216", "16777216 is not a text", 'write "16MiB"'),
    ("credentials", "instance_profile_name = 1", "1 is not a text", QUOTES),
    ("credentials", 'metadata_endpoint_mode = "6"', "'6' is not one of them", "'ipv4' | 'ipv6'"),
    ("credentials", 'source = "env"', "'env' is not one of them", "'imds' | 'container' | 'auto'"),
    ("instance", "id = 7", "7 is not a text", QUOTES),
    ("fleet", "heartbeat = 3600", "3600 is not a text", DURATION),
    ("fleet", 'heartbeat = "often"', "'often' is no duration", NO_DURATION),
    ("http", "listen = 9464", "9464 is not a text", QUOTES),
    ("log", 'format = "text"', "'text' is not one of them", "'auto' | 'json' | 'console'"),
    ("log", "level = 20", "20 is not one of them", "'debug' | 'info' | 'warning' | 'error'"),
    ("watch", 'settle = "5"', "'5' is no duration", NO_DURATION),
    ("watch", 'settle = "-5s"', "'-5s' is no duration", NO_DURATION),
    ("watch", 'delete_after = "never; ever"', "'never; ever' is no duration", NO_DURATION),
    ("watch", 'delete_after = "99999d"', "'99999d' is too long", 'write "3650d" or less'),
    ("scan", 'interval = ""', "'' is no duration", NO_DURATION),
    ("disk", "high_water = 0.85", "0.85 is not a text", 'write "85%"'),
    ("disk", 'high_water = "85"', "'85' is no percentage", 'write "85%"'),
    ("disk", 'high_water = "0%"', "'0%' is no percentage", 'write "85%"'),
    ("disk", 'low_water = "-1%"', "'-1%' is no percentage", 'write "85%"'),
    ("disk", 'removes_kept = "no"', "'no' is not a yes or no", "true | false"),
    ("uploads", 'part_size = "16 megabytes"', "'16 megabytes' is no size", NO_SIZE),
    ("uploads", 'memory_limit = "-1"', "'-1' is no size", NO_SIZE),
    ("destination", 'buckett = "x"', "unknown key", "did you mean 'bucket'?"),
    ("destination", "sign_payload = true", "unknown key", "did you mean 'sign_payloads'?"),
    ("watch", 'dirctory = "/x"', "unknown key", "did you mean 'directory'?"),
    ("watch", "setle = 5", "unknown key", "did you mean 'settle'?"),
    ("scan", "x = 1", "unknown key", "known: interval"),
    ("scan", 'interval_seconds = "30s"', "unknown key", "did you mean 'interval'?"),
    ("uploads", "held_filse = 1", "unknown key", "did you mean 'held_files'?"),
    ("uploads", "clone_held = true", "unknown key", UPLOADS),
    ("credentials", 'endpoint = "x"', "unknown key", "did you mean 'metadata_endpoint'?"),
    ("http", "port = 1", "unknown key", "known: listen"),
    ("log", 'levle = "info"', "unknown key", "did you mean 'level'?"),
    (
        "destination",
        'bucket = "my-bucket/logs"',
        "'my-bucket/logs' is not a bucket's name",
        BUCKET,
    ),
    (
        "destination",
        'bucket = "logs--usw2-az1--x-s3"',
        "'logs--usw2-az1--x-s3' is a directory bucket, which cannot list a key to verify it",
        "a general purpose bucket",
    ),
    ("destination", r'prefix = "a\n"', r"'a\n' holds a control character", "write it without"),
    ("destination", 'key = "{digest}{when}"', "unknown field {when}", ""),
    ("destination", 'key = "{digest}{tag}"', "{tag} needs a tag's name: {tag:Name}", ""),
    ("destination", 'key = "{digest:>9}"', "{digest} takes no format", ""),
    ("destination", 'region = "EU"', "'EU' is not a region", "such as eu-central-1"),
    (
        "destination",
        'region = "eu-central"',
        "'eu-central' is not a region",
        "such as eu-central-1",
    ),
    ("destination", 'endpoint_url = "s3.local"', "is not an http(s) URL", ""),
    (
        "destination",
        'endpoint_url = "http://bob:pw@s3.local"',
        "holds a user or a password",
        BARE_URL,
    ),
    (
        "destination",
        'endpoint_url = "https://bob@s3.local"',
        "holds a user or a password",
        BARE_URL,
    ),
    ("destination", 'endpoint_url = "ftp://s3.local"', "is not an http(s) URL", ""),
    ("destination", 'endpoint_url = "http://[::1"', "is not an http(s) URL", ""),
    ("destination", 'endpoint_url = "http://s3:99999"', "is not an http(s) URL", ""),
    ("destination", 'expected_bucket_owner = "123"', "is not an account id", "12 digits"),
    ("destination", 'expected_bucket_owner = "12345678901x"', "is not an account id", "12 digits"),
    ("destination", 'expected_bucket_owner = "١٢٣٤٥٦٧٨٩٠١٢"', "is not an account id", "12 digits"),
    ("destination", 'kms_key_id = "k"', "needs KMS encryption", ENCRYPTED),
    ("watch", 'name = "a/b"', "'a/b' is not a name", "it becomes part of keys"),
    ("watch", 'name = "a\u200bb"', r"'a\u200bb' is not a name", "it becomes part of keys"),
    ("watch", 'directory = ""', "is not an absolute path", 'such as "/var/log/nginx"'),
    ("watch", 'directory = "logs"', "is not an absolute path", 'such as "/var/log/nginx"'),
    ("watch", r'directory = "/\u0000"', r"'/\x00' holds a control character", "write it without"),
    ("watch", "compression_level = 0", "0", "1 to 19 for zstd"),
    ("watch", "compression_level = 20", "20", "1 to 19 for zstd"),
    ("watch", 'compression_level = 10\ncompression = "gzip"', "10", "1 to 9 for gzip"),
    ("watch", 'compression_level = 23\ncompression = "none"', "23", "0 to 22 for none"),
    ("watch", 'include = ["a", ""]', "'' is not a glob", GLOB),
    ("watch", 'exclude = ["/var/*"]', "'/var/*' is not a glob", GLOB),
    ("watch", 'live = ["[z-a].log"]', "'[z-a].log' is not a glob", GLOB),
    ("watch", 'archive_directory = ""\nafter_upload = "archive"', "''", ARCHIVE),
    ("watch", 'archive_directory = "old"', "'old'", ARCHIVE),
    (
        "watch",
        'archive_directory = "/var/log/nginx/"',
        "is the watched directory",
        "a directory inside or outside of it",
    ),
    (
        "watch",
        'live_interval = "29s"',
        "29 s",
        'at least "30s": each segment is a request and an object',
    ),
    ("watch", "live_interval = 30", "30 is not a text", DURATION),
    (
        "watch",
        'ignore_older = "10s"\nmin_age = "20s"',
        "10 s, and files wait for min_age: 20 s",
        "more than that, or none",
    ),
    (
        "watch",
        'ignore_older = "20s"\nsettle = "20s"',
        "20 s, and files wait for settle: 20 s",
        "more than that, or none",
    ),
    ("watch", 'live_bytes = "63KiB"', "64512 bytes", 'at least "64KiB"'),
    ("scan", 'interval = "99ms"', "0.099 s", 'at least "100ms"'),
    ("disk", 'high_water = "100%"', "100 %", "between 0 and 100 %"),
    ("disk", 'low_water = ""', "0 %", "between 0 and 100 %"),
    ("disk", 'low_water = "85%"\nhigh_water = "85%"', NOT_BELOW, "less than 85 %"),
    ("disk", "removes_kept = true", "needs high_water", 'such as "85%"'),
    ("uploads", "concurrent_files = 0", "0", "1 to 64"),
    ("uploads", "concurrent_parts = 65", "65", "1 to 64"),
    ("uploads", "max_in_flight = 1025", "1025", "1 to 1024"),
    ("uploads", "held_files = -1", "-1", "0 to 2000"),
    ("uploads", "held_files = 2001", "2001", "0 to 2000"),
    ("uploads", 'part_size = "4MiB"', "4194304 bytes", '"5MiB" to "5GiB"'),
    ("uploads", 'memory_limit = "24000kB"', "24000000 bytes", ONE_PART),
    ("credentials", 'metadata_endpoint = "169.254.169.254"', "is not an http(s) URL", ""),
    ("instance", 'account_id = "1234"', "'1234' cannot be", "12 digits"),
    ("instance", 'region = "Frankfurt"', "'Frankfurt' cannot be", "such as eu-central-1"),
    ("instance", 'availability_zone = "a/b"', "'a/b' cannot be", "such as eu-central-1a"),
    ("fleet", 'heartbeat = "59s"', "is too often or too seldom", '"1m" to "7d", such as "1h"'),
    ("fleet", 'heartbeat = "8d"', "is too often or too seldom", '"1m" to "7d", such as "1h"'),
    ("http", 'listen = "9464"', "is not HOST:PORT", '"127.0.0.1:9464"'),
    ("http", 'listen = ":9464"', "is not HOST:PORT", '"127.0.0.1:9464"'),
    ("http", 'listen = "localhost:65536"', "is not HOST:PORT", '"127.0.0.1:9464"'),
    ("http", 'listen = "localhost:http"', "is not HOST:PORT", '"127.0.0.1:9464"'),
    ("destination", 'role_arn = "arn:aws:iam::1:role/x"', "is not the ARN of a role", A_ROLE),
    ("destination", 'external_id = "x"', "needs role_arn", "there is no role to assume"),
    (
        "destination",
        f'external_id = "x"\nrole_arn = "{A_ROLE.replace("NAME", "x")}"',
        "is none that STS takes",
        "2 to 1224 of A-Z, a-z, 0-9 and _+=,.@:/-",
    ),
    ("termination", 'lifecycle_timeout = "29s"', "29 s", 'at least "30s", as AWS has it'),
    (
        "termination",
        'lifecycle_hook = "drain"\nautoscaling = false',
        "needs autoscaling",
        "set termination.autoscaling",
    ),
    (
        "termination",
        'autoscaling_group = "web"',
        "needs lifecycle_hook",
        "set termination.lifecycle_hook",
    ),
    (
        "manifest",
        'interval = "59s"',
        "59 s",
        'at least "60s": each is a request and an object',
    ),
    ("manifest", "interval = 3600", "3600 is not a text", DURATION),
    ("uploads", 'bandwidth_limit = "20MiB"', "'20MiB' is no rate", RATE),
    ("uploads", 'bandwidth_limit = "1kB/s"', TOO_SLOW, SLOWEST_RATE),
]
"""Table, what is written in it (its first word is the wrong key), what is wrong, what is right."""

WRONG_SHAPES = [
    ("state_directory = 3", "state_directory", "3 is not an absolute path", ""),
    ('state_directory = "a/b"', "state_directory", "'a/b' is not an absolute path", ""),
    (r'state_directory = "/\u0000"', "state_directory", r"'/\x00' is not an absolute path", ""),
    ("scan = 3", "scan", "3 is not a table", "write [scan]"),
    ("http = [1]", "http", "[1] is not a table", "write [http]"),
    ("[destinatoins]", "destinatoins", "unknown key", "did you mean 'destinations'?"),
    ("destinations = 3", "destinations", "3 is not a table", "write [destinations.NAME]"),
    (
        "[destinations]\naudit = 3",
        "destinations.audit",
        "3 is not a table",
        "write [destinations.NAME]",
    ),
    ("[metrics]", "metrics", "unknown key", ...),
]


def problems(directory: Path, text: str) -> list[tuple[str, str, str]]:
    """Key, what and right of every problem; all of them are of this file."""
    path = directory / "shipper.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(str(path), {})
    assert {one.file for one in refused.value.problems} == {str(path)}
    return [(one.key, one.what, one.right) for one in refused.value.problems]


def document(table: str = "", lines: str = "") -> str:
    """A good configuration, but for these lines in this table."""
    tables = {**BASE, table: lines} if table else BASE
    key = lines.partition(" ")[0]
    if table in BASE and not BASE[table].startswith(f"{key} "):
        tables = {**BASE, table: f"{BASE[table]}\n{lines}"}
    heads = {name: "[[watch]]" if name == "watch" else f"[{name}]" for name in tables}
    return "\n".join(f"{heads[name]}\n{body}" for name, body in tables.items())


def test_the_configuration_that_is_broken_below_is_a_good_one(tmp_path: Path) -> None:
    path = tmp_path / "shipper.toml"
    path.write_text(document())
    assert load(str(path), {}).destination.bucket == "my-bucket"


@pytest.mark.parametrize(
    ("table", "lines", "what", "right"), BROKEN, ids=[f"{row[0]}: {row[1]!a}" for row in BROKEN]
)
def test_a_broken_key_is_the_one_problem(
    tmp_path: Path, table: str, lines: str, what: str, right: str
) -> None:
    text = document(table, lines)
    facts = "watch[0]" if table == "watch" else table
    key = f"{facts}.{lines.partition(' ')[0]}"
    assert problems(tmp_path, text) == [(key, what, right)]


@pytest.mark.parametrize(
    ("bucket", "line", "key"),
    [
        (ACCESS_POINT, 'addressing_style = "path"', "addressing_style"),
        (MULTI_REGION, "use_fips_endpoint = true", "use_fips_endpoint"),
        (MULTI_REGION, "use_dualstack_endpoint = true", "use_dualstack_endpoint"),
    ],
)
def test_what_no_access_point_has_is_refused(
    tmp_path: Path, bucket: str, line: str, key: str
) -> None:
    text = document("destination", line)
    ((named, _, right),) = problems(
        tmp_path, re.sub('bucket = "[^"]*"', f'bucket = "{bucket}"', text)
    )
    assert named == f"destination.{key}"
    assert right


@pytest.mark.parametrize(("text", "key", "what", "right"), WRONG_SHAPES)
def test_a_wrong_shape_is_the_one_problem(
    tmp_path: Path, text: str, key: str, what: str, right: Any
) -> None:
    known = (
        "credentials, destination, destinations, disk, fleet, http, instance, log, manifest, "
        "scan, state_directory, termination, uploads, watch"
    )
    expected = f"known: {known}" if right is ... else right
    assert problems(tmp_path, f"{text}\n{document()}") == [(key, what, expected)]


def test_a_missing_bucket_and_a_missing_directory_are_both_named(tmp_path: Path) -> None:
    assert problems(tmp_path, "[[watch]]\n[[watch]]\nname = 'x'\n") == [
        ("destination.bucket", "is missing", "it is required; `shipper init` asks for it"),
        ("watch[0].directory", "is missing", "it is required; `shipper init` asks for it"),
        ("watch[1].directory", "is missing", "it is required; `shipper init` asks for it"),
    ]


@pytest.mark.parametrize(
    ("text", "key", "what", "right"),
    [
        ("", "watch", "no [[watch]]", 'add one with directory = "/var/log/nginx"'),
        ("watch = []", "watch", "no [[watch]]", 'add one with directory = "/var/log/nginx"'),
        ("watch = 0", "watch", "is a single value", "write [[watch]], with two brackets"),
        ("watch = {}", "watch", "is a single value", "write [[watch]], with two brackets"),
        ("watch = ['/logs']", "watch[0]", "'/logs' is not a table", "write [[watch]]"),
    ],
)
def test_a_configuration_without_a_watch_is_refused(
    tmp_path: Path, text: str, key: str, what: str, right: str
) -> None:
    good = '[destination]\nbucket = "my-bucket"\n'
    assert problems(tmp_path, f"{text}\n{good}") == [(key, what, right)]


def test_a_destination_that_is_no_table_is_reported_once_and_the_rest_as_well(
    tmp_path: Path,
) -> None:
    assert problems(tmp_path, "destination = 'my-bucket'\nlog = 1\n") == [
        ("destination", "'my-bucket' is not a table", "write [destination]"),
        ("log", "1 is not a table", "write [log]"),
        ("watch", "no [[watch]]", 'add one with directory = "/var/log/nginx"'),
    ]


def test_a_key_template_may_have_several_problems(tmp_path: Path) -> None:
    found = problems(tmp_path, document("destination", 'key = "{a}{mtime}{stem:x}"'))
    assert [(key, what) for key, what, _ in found] == [
        ("destination.key", "unknown field {a}"),
        ("destination.key", NO_DIGEST),
        ("destination.key", "{stem} takes no format"),
    ]


def test_a_table_with_an_unknown_key_is_still_checked_in_its_meaning(tmp_path: Path) -> None:
    text = """
    [destination]
    bucket = 3
    buckets = "x"
    key = "no-digest"
    role_arn = "arn"
    [[watch]]
    directory = 1
    folder = "/x"
    compression_level = 99
    include = ["/"]
    [uploads]
    concurrent_files = "4"
    concurrent_parts = 0
    part_size = "1B"
    """
    assert [(key, what) for key, what, _ in problems(tmp_path, text)] == [
        ("destination.bucket", "3 is not a text"),
        ("destination.buckets", "unknown key"),
        ("destination.key", NO_DIGEST),
        ("destination.role_arn", "is not the ARN of a role"),
        ("uploads.concurrent_files", "'4' is not a whole number"),
        ("uploads.concurrent_parts", "0"),
        ("uploads.part_size", "1 bytes"),
        ("watch[0].directory", "1 is not a text"),
        ("watch[0].folder", "unknown key"),
        ("watch[0].compression_level", "99"),
        ("watch[0].include", "'/' is not a glob"),
    ]


@pytest.mark.parametrize(
    ("table", "lines", "key"),
    [
        ("destination", f'{NO_KMS}\nkms_key_id = "k"', "server_side_encryption"),
        ("watch", 'compression = "xz"\ncompression_level = 22', "compression"),
        ("uploads", 'part_size = "small"\nmemory_limit = "13MiB"', "part_size"),
        ("watch", 'after_upload = "archive"\narchive_directory = 1', "archive_directory"),
    ],
)
def test_nothing_is_judged_by_a_value_that_was_refused(
    tmp_path: Path, table: str, lines: str, key: str
) -> None:
    ((found, _, _),) = problems(tmp_path, document(table, lines))
    assert found.rpartition(".")[2] == key


@pytest.mark.parametrize("first", ['directory = "/a/logs"', 'directory = "/a/logs"\nsettle = 1'])
def test_two_watches_of_one_name_are_refused(tmp_path: Path, first: str) -> None:
    text = f'{document()}\n[[watch]]\n{first}\n[[watch]]\ndirectory = "/b/logs"\n'
    expected = ("watch[2].name", "another watch is called 'logs'", "set name")
    assert problems(tmp_path, text)[-1] == expected


def test_a_root_directory_needs_a_name(tmp_path: Path) -> None:
    text = document("watch", 'directory = "/"')
    found = problems(tmp_path, text)
    assert found == [("watch[0].name", "'' is not a name", "it becomes part of keys")]


def test_a_problem_is_one_line_that_names_file_key_what_and_right() -> None:
    problem = Problem("/etc/x.toml", "log.a", "unknown key", "known: b")
    assert str(problem) == "/etc/x.toml: log.a: unknown key (known: b)"
    assert str(Problem("/etc/x.toml", "", "is not TOML")) == "/etc/x.toml: is not TOML"
    assert str(ConfigError((problem, problem))) == f"{problem}\n{problem}"


def test_the_problems_of_every_file_are_reported_in_one_run(tmp_path: Path) -> None:
    main = tmp_path / "shipper.toml"
    main.write_text(document("watch", 'directory = "/logs"\nsettle = 1'))
    more = tmp_path / "conf.d"
    more.mkdir()
    (more / "a.toml").write_text('[log]\nlevel = "info"\n[[watch]]\ndirectory = "/b/logs"\n')
    (more / "b.toml").write_text("[[watch]]\nsettle = 1\n")
    (more / "c.toml").write_text("[[watch]")
    (more / "d.toml").mkdir()
    with pytest.raises(ConfigError) as refused:
        load(None, {}, default_file=str(main))
    no_end = "Expected ']]' at the end of an array declaration"
    only = "a file in conf.d may only have [[watch]] tables"
    required = "it is required; `shipper init` asks for it"
    assert [str(one).removeprefix(f"{tmp_path}/") for one in refused.value.problems] == [
        f"shipper.toml: watch[0].settle: 1 is not a text ({DURATION})",
        f"conf.d/a.toml: log: not here ({only})",
        "conf.d/a.toml: watch[0].name: another watch is called 'logs' (set name)",
        f"conf.d/b.toml: watch[0].directory: is missing ({required})",
        f"conf.d/b.toml: watch[0].settle: 1 is not a text ({DURATION})",
        f"conf.d/c.toml: is not TOML: {no_end} (at line 1, column 8)",
        "conf.d/d.toml: cannot be read: Is a directory",
    ]


def test_a_missing_watch_is_a_problem_of_the_main_file(tmp_path: Path) -> None:
    main = tmp_path / "shipper.toml"
    main.write_text("[destination]\nbucket = 1\n")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.toml").write_text("")
    with pytest.raises(ConfigError) as refused:
        load(None, {}, default_file=str(main))
    assert [(one.file, one.key) for one in refused.value.problems] == [
        (str(main), "destination.bucket"),
        (str(main), "watch"),
    ]


def test_a_conf_d_that_cannot_be_read_is_a_problem_and_not_an_empty_one(tmp_path: Path) -> None:
    main = tmp_path / "shipper.toml"
    main.write_text(document())
    more = tmp_path / "conf.d"
    more.write_text("")
    with pytest.raises(ConfigError) as refused:
        load(None, {}, default_file=str(main))
    assert refused.value.problems == (Problem(str(more), "", "cannot be read: Not a directory"),)


# Whatever is in the file.

VALUES = st.one_of(
    st.booleans(),
    st.integers(-5, 2**70),
    st.text(max_size=9),
    st.sampled_from(["30s", "16MiB", "/var/log", "http://x", "aws:kms", "gzip", "{digest}", "*"]),
    st.lists(st.text(max_size=4), max_size=2),
)
NAMES = sorted({key.name for kind in TABLES.values() for key in keys_of(kind)} | {"x"})
TABLE = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8)


@given(st.dictionaries(st.sampled_from([*TABLES, "x"]), VALUES | TABLE | st.lists(TABLE)))
@settings(max_examples=200, deadline=None)
def test_whatever_is_in_the_file_the_answer_is_a_configuration_or_its_problems(
    tables: dict[str, Any],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "shipper.toml"
        path.write_text("\n".join(f"{name} = {toml(value)}" for name, value in tables.items()))
        try:
            found: Configuration | ConfigError = load(str(path), {})
        except ConfigError as error:
            found = error
    if isinstance(found, ConfigError):
        assert len(set(found.problems)) == len(found.problems) > 0
        assert all("\n" not in str(one) for one in found.problems)


def toml(value: Any) -> str:
    """The value as TOML, which is JSON but for tables, the delete character and big letters."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


TAG_LENGTHS = "a name of 1 to 128, a value of up to 256 letters"
OVERRIDES: list[tuple[str, str, tuple[str, str]]] = [
    ('destination = "audti"', "", ("watch[0].destination", "did you mean 'audit'?")),
    ('kms_key_id = "k"', "", ("watch[0].kms_key_id", 'server_side_encryption = "aws:kms"')),
    ('prefix = "/x"', "", ("watch[0].prefix", '"x/"')),
    ('key = "{stem}"', "", ("watch[0].key", "")),
    ('storage_class = "GLACIR"', "", ("watch[0].storage_class", "did you mean 'GLACIER'?")),
    (
        'object_lock_mode = "GOVERNANCE"',
        "",
        ("watch[0].object_lock_mode", 'object_lock_retain = "400d"'),
    ),
    (
        'object_lock_mode = "GOVERNANCE"\nobject_lock_retain = "1h"',
        "",
        ("watch[0].object_lock_retain", '"1d" or more'),
    ),
    (
        'object_lock_retain = "400d"',
        "",
        ("watch[0].object_lock_retain", 'object_lock_mode = "GOVERNANCE", or "COMPLIANCE"'),
    ),
    (
        'destination = "audit"\nobject_lock_mode = "GOVERNANCE"\nobject_lock_retain = "400d"',
        'checksum = "none"',
        ("watch[0].object_lock_mode", 'checksum = "crc32"'),
    ),
    (
        "tags = {" + ", ".join(f't{n} = "x"' for n in range(11)) + "}",
        "",
        ("watch[0].tags", "S3 takes 10"),
    ),
    ("tags = {" + "t" * 129 + ' = "x"}', "", ("watch[0].tags", TAG_LENGTHS)),
    ('content_type = "é"', "", ("watch[0].content_type", "ASCII")),
    ("", 'region = "EU"', ("destinations.audit.region", "such as eu-central-1")),
    ("", 'bukcet = "x"', ("destinations.audit.bukcet", "did you mean 'bucket'?")),
]


@pytest.mark.parametrize(("watch", "audit", "expected"), OVERRIDES)
def test_what_a_watch_or_another_destination_may_not_say_is_named(
    tmp_path: Path, watch: str, audit: str, expected: tuple[str, str]
) -> None:
    text = f'{document("watch", watch)}\n[destinations.audit]\nbucket = "audit-logs"\n{audit}\n'
    ((key, what, right),) = problems(tmp_path, text)
    assert what
    assert (key, right) == expected


def test_a_destination_that_is_not_there_is_a_problem_also_where_there_is_none(
    tmp_path: Path,
) -> None:
    assert problems(tmp_path, document("watch", 'destination = "audit"')) == [
        ("watch[0].destination", "there is no [destinations.audit]", "write [destinations.NAME]")
    ]


@pytest.mark.parametrize("name", ["default", '"a b"'])
def test_a_name_that_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    text = f'{document()}\n[destinations.{name}]\nbucket = "audit-logs"\n'
    ((key, what, _),) = problems(tmp_path, text)
    assert key == f"destinations.{name.strip(chr(34))}"
    assert "cannot be the name" in what


def test_each_destination_needs_memory_for_a_part(tmp_path: Path) -> None:
    more = '[destinations.audit]\nbucket = "audit-logs"\n[[watch]]\nname = "other"\n'
    more += 'directory = "/srv/other"\ndestination = "audit"\n[uploads]\nmemory_limit = "47MiB"\n'
    assert problems(tmp_path, f"{document()}\n{more}") == [
        (
            "uploads.memory_limit",
            f"{47 * 1024**2} bytes for 2 destinations",
            f"at least {48 * 1024**2} bytes for one part of this size each",
        )
    ]


def test_a_compatible_server_may_have_storage_classes_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "shipper.toml"
    more = 'endpoint_url = "http://127.0.0.1:9000"\nstorage_class = "COLD"'
    path.write_text(document("destination", more))
    assert load(str(path), {}).destination.storage_class == "COLD"


@pytest.mark.parametrize(
    ("line", "key", "what"),
    [
        ('bucket = "x-{tag:}"', "bucket", "'x-{tag:}' is not a bucket's name"),
        ('bucket = "x-{instance_id}"', "bucket", "'x-{instance_id}' is not a bucket's name"),
        ('bucket = "{tag:A}--x-s3"', "bucket", "'{tag:A}--x-s3' is a directory bucket"),
        (
            'bucket = "arn:aws:s3:eu-central-1:123456789012:accesspoint/{tag:A}"',
            "bucket",
            "is not a bucket's name",
        ),
        ('bucket = "b-1"\nprefix = "{instance_id}/"', "prefix", "{instance_id} is no tag"),
        ('bucket = "b-1"\nprefix = "{tag}/"', "prefix", "{tag} is no tag"),
        ('bucket = "b-1"\nprefix = "{mtime:%Y}/"', "prefix", "{mtime:%Y} is no tag"),
    ],
)
def test_only_tags_may_stand_in_a_bucket_or_a_prefix(
    line: str, key: str, what: str, tmp_path: Path
) -> None:
    path = tmp_path / "shipper.toml"
    path.write_text(f'[destination]\n{line}\n[[watch]]\ndirectory = "/var/log/nginx"\n')
    with pytest.raises(ConfigError) as caught:
        load(str(path), {})
    [problem] = caught.value.problems
    assert problem.key == f"destination.{key}"
    assert what in problem.what


def test_braces_that_are_no_field_may_stand_in_a_prefix(tmp_path: Path) -> None:
    path = tmp_path / "shipper.toml"
    path.write_text(
        '[destination]\nbucket = "{tag:A}"\nprefix = "{x}/{tag:B}/"\n'
        '[[watch]]\ndirectory = "/var/log/nginx"\n'
    )
    assert load(str(path), {}).destination.prefix == "{x}/{tag:B}/"


@pytest.mark.parametrize("key", ["metadata_endpoint", "instance_profile_name"])
def test_what_is_of_the_metadata_service_contradicts_a_container(tmp_path: Path, key: str) -> None:
    value = "http://127.0.0.1:9911"
    text = f'[credentials]\nsource = "SOURCE"\n{key} = "{value}"\n{document()}'
    [(place, what, right)] = problems(tmp_path, text.replace("SOURCE", "container"))
    assert place == f"credentials.{key}"
    assert what == "is of the metadata service, which is not asked"
    assert right == 'leave it out, or source = "imds"'
    path = tmp_path / "good.toml"
    path.write_text(text.replace("SOURCE", "auto"))
    assert load(str(path), {}).credentials.source == "auto"


def test_a_given_instance_needs_a_region_for_each_destination_that_has_none(
    tmp_path: Path,
) -> None:
    there = '[destinations.audit]\nbucket = "b-audit"\nregion = "us-east-1"\n'
    unused = '[destinations.unused]\nbucket = "unused"\n'
    watch = '[[watch]]\ndirectory = "/b"\ndestination = "audit"\n'
    text = f'[instance]\nid = "pod-1"\n{document()}\n{there}{unused}{watch}'
    [(place, what, right)] = problems(tmp_path, text)
    assert (place, what) == ("instance.region", "is missing")
    assert "or destination.region" in right
    path = tmp_path / "good.toml"
    path.write_text(text.replace('bucket = "my-bucket"', f'bucket = "{ACCESS_POINT}"'))
    assert load(str(path), {}).instance.region == ""


def test_a_given_instance_needs_a_region(tmp_path: Path) -> None:
    text = f'[instance]\nid = "pod-1"\n{document()}'
    [(place, what, right)] = problems(tmp_path, text)
    assert (place, what) == ("instance.region", "is missing")
    assert "destination.region" in right
    path = tmp_path / "good.toml"
    good = text.replace("[instance]", '[instance]\nregion = "us-east-1"')
    path.write_text(good)
    assert load(str(path), {}).instance.id == "pod-1"
    [(place, what, _)] = problems(tmp_path, good.replace("pod-1", "../x"))
    assert (place, what) == ("instance.id", "'../x' cannot be")
    # A region that was refused is the one problem.
    [(place, what, _)] = problems(tmp_path, text.replace("[instance]", "[instance]\nregion = 7"))
    assert (place, what) == ("instance.region", "7 is not a text")

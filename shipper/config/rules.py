"""What must hold in a table beyond the types of its keys. Pure."""

import os
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from shipper.config.schema import (
    Credentials,
    Disk,
    Fleet,
    Http,
    InstanceTable,
    ManifestTable,
    Scan,
    Termination,
    Uploads,
    suggestion,
)
from shipper.core.access_points import access_point_of
from shipper.core.concurrency import slowest_bandwidth
from shipper.core.destinations import (
    HIVE_KEY,
    LAYOUTS,
    MOST_TAGS,
    STORAGE_CLASSES,
    Destination,
    for_watch,
)
from shipper.core.globs import glob_pattern, is_wild, split_directory
from shipper.core.live_segments import LEAST_BYTES, LEAST_PAUSE_SECONDS
from shipper.core.manifests import LEAST_INTERVAL_SECONDS
from shipper.core.object_keys import FIELDS, TAG, template_problems
from shipper.core.parts import FRAME_BYTES, MAX_PART_BYTES, MIN_PART_BYTES
from shipper.core.types import AfterUpload, ChecksumAlgorithm, Compression, Watch

MOST_HELD_FILES = 2_000
"""One environment variable of 128 KiB has the names of all when they are passed to a start."""
LEVELS = {Compression.ZSTD: (1, 19), Compression.GZIP: (1, 9), Compression.NONE: (0, 22)}
DAY_SECONDS = 86_400.0
MOST_TAG_NAME, MOST_TAG_VALUE = 128, 256
_HEADER = re.compile(r"[\x21-\x7e][\x20-\x7e]*|")
_BUCKET = re.compile(r"[A-Za-z0-9.\-_]{3,255}")
"""A bucket's name or an access point's alias; S3 itself refuses what is only nearly one."""
_COLUMN = re.compile(r"[A-Za-z0-9._-]*")
"""DuckDB ends a directory's value at ``=`` and ``?``; Hive escapes more, and Athena unescapes none
of it where partitions are projected."""
_FIELD = re.compile(rf"\{{({'|'.join(sorted(FIELDS))})\b[^}}]*\}}")
_DIRECTORY_BUCKET = re.compile(r".*--(x|xa)-s3")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252})|[0-9a-f:.]*:[0-9a-f:.]*(%\w+)?")
"""What botocore accepts: no underscores."""
_EXTERNAL_ID = re.compile(r"[A-Za-z0-9_+=,.@:/-]{2,1224}")
"""https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html"""
_REGION = re.compile(r"([a-z]+(-[a-z]+)+-[0-9]+)?")
_ANY_REGION = re.compile(r"[a-z0-9-]*")
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+", re.ASCII)


_INSTANCE = {
    "id": ("[A-Za-z0-9][A-Za-z0-9._-]{0,127}", "letters, digits and . _ -, such as web-1"),
    "account_id": ("[0-9]{12}", "12 digits"),
    "region": ("[a-z][a-z0-9-]{0,62}", "such as eu-central-1"),
    "availability_zone": ("[a-z][a-z0-9-]{0,62}", "such as eu-central-1a"),
}
"""What goes into keys and hosts' names."""


class Broken(NamedTuple):
    """A key whose value breaks a rule; ``because`` is another key that the value is judged by."""

    key: str
    what: str
    right: str = ""
    because: str = ""


def broken_rules(table: Any) -> Iterator[Broken]:
    """Every rule that the table breaks."""
    return _RULES[type(table)](table) if type(table) in _RULES else iter(())


def name_of(watch: Watch) -> str:
    """The watch's name: its own, else its directory's last that is no glob."""
    names = watch.directory.rstrip("/").split("/")
    return watch.name or next((name for name in reversed(names) if not is_wild(name)), "")


def is_path(text: str) -> bool:
    return os.path.isabs(text) and "\0" not in text


def _of_destination(table: Destination) -> Iterator[Broken]:
    yield from _of_bucket(table)
    if table.prefix.startswith("/"):
        name = table.prefix.strip("/")
        yield Broken("prefix", "begins with a slash", f'"{name}/"' if name else '""')
    if found := _FIELD.search(TAG.sub("", table.prefix)):
        yield Broken("prefix", f"{found[0]} is no tag", "{tag:NAME} alone; other fields in key")
    meant = "" if "{" in table.key else suggestion(table.key, [*LAYOUTS])
    for problem in template_problems(table.key):
        yield Broken("key", problem, meant)
    yield from _of_url("endpoint_url", table.endpoint_url)
    # A compatible server may have names of its own.
    region = _ANY_REGION if table.endpoint_url else _REGION
    if not region.fullmatch(table.region):
        yield Broken("region", f"{table.region!r} is not a region", "such as eu-central-1")
    yield from _of_owners(table)
    yield from _of_objects(table)


def broken_overrides(destination: Destination, watch: Watch) -> Iterator[Broken]:
    """The rules that the destination keeps, and breaks once the watch's own words count."""
    before, used, name = (
        {*_of_destination(destination)},
        for_watch(destination, watch),
        name_of(watch),
    )
    if used.key == HIVE_KEY and not _COLUMN.fullmatch(name):
        right = "letters, digits and . _ - in name: what reads watch=NAME takes others for its own"
        yield Broken(
            "name", f"{name!r} is not safe in a key of the layout hive", right, "directory"
        )
    for broken in _of_destination(used):
        if broken not in before:
            field = "object_lock_retain_seconds" if "retain" in broken.key else broken.key
            key = broken.key if getattr(watch, field, "") else "destination"
            yield broken._replace(key=key)


def _of_bucket(table: Destination) -> Iterator[Broken]:
    arn, name = access_point_of(table.bucket), TAG.sub("any", table.bucket)
    if _DIRECTORY_BUCKET.fullmatch(name):
        what = f"{table.bucket!r} is a directory bucket, which cannot list a key to verify it"
        yield Broken("bucket", what, "a general purpose bucket")
    elif arn is None and not _BUCKET.fullmatch(name):
        what = f"{table.bucket!r} is not a bucket's name"
        right = "its name alone, such as my-logs, or an access point's ARN or alias"
        yield Broken("bucket", what, right)
    if arn is None:
        return
    if table.addressing_style == "path":
        what = "no access point is reached by path"
        yield Broken("addressing_style", what, '"auto"', "bucket")
    for key in ("use_fips_endpoint", "use_dualstack_endpoint"):
        if arn.is_multi_region and getattr(table, key):
            yield Broken(key, "there is none for a multi-region access point", "false", "bucket")


def _of_objects(table: Destination) -> Iterator[Broken]:
    """What each object is written with."""
    known = table.endpoint_url or not table.storage_class
    if not known and table.storage_class not in STORAGE_CLASSES:
        what = f"{table.storage_class!r} is not a storage class of AWS"
        yield Broken("storage_class", what, suggestion(table.storage_class, [*STORAGE_CLASSES]))
    if len(table.tags) > MOST_TAGS:
        yield Broken("tags", f"{len(table.tags)} are too many", f"S3 takes {MOST_TAGS}")
    for name, value in table.tags:
        if not name or len(name) > MOST_TAG_NAME or len(value) > MOST_TAG_VALUE:
            right = f"a name of 1 to {MOST_TAG_NAME}, a value of up to {MOST_TAG_VALUE} letters"
            yield Broken("tags", f"{name!r} is too long, or nothing", right)
    for key in ("content_type", "content_encoding"):
        if not _HEADER.fullmatch(getattr(table, key)):
            yield Broken(key, f"{getattr(table, key)!r} is not a header's value", "ASCII")
    yield from _of_lock(table)


def _of_lock(table: Destination) -> Iterator[Broken]:
    mode, days = table.object_lock_mode, table.object_lock_retain_seconds / DAY_SECONDS
    if mode and table.checksum is ChecksumAlgorithm.NONE:
        what, right = "needs a checksum: S3 takes no locked object without", 'checksum = "crc32"'
        yield Broken("object_lock_mode", what, right, "checksum")
    if mode and not days:
        what, right = "needs object_lock_retain", 'object_lock_retain = "400d"'
        yield Broken("object_lock_mode", what, right, "object_lock_retain")
    elif mode and days < 1:
        yield Broken("object_lock_retain", "is less than a day", '"1d" or more')
    elif days and not mode:
        right = 'object_lock_mode = "GOVERNANCE", or "COMPLIANCE"'
        yield Broken("object_lock_retain", "needs object_lock_mode", right, "object_lock_mode")


def _of_owners(table: Destination) -> Iterator[Broken]:
    if table.role_arn and not _ROLE_ARN.fullmatch(table.role_arn):
        right = "arn:aws:iam::123456789012:role/NAME"
        yield Broken("role_arn", "is not the ARN of a role", right)
    if table.external_id and not table.role_arn:
        yield Broken("external_id", "needs role_arn", "there is no role to assume", "role_arn")
    elif table.external_id and not _EXTERNAL_ID.fullmatch(table.external_id):
        right = "2 to 1224 of A-Z, a-z, 0-9 and _+=,.@:/-"
        yield Broken("external_id", "is none that STS takes", right)
    if table.expected_bucket_owner and not re.fullmatch("[0-9]{12}", table.expected_bucket_owner):
        yield Broken("expected_bucket_owner", "is not an account id", "12 digits")
    if table.kms_key_id and not table.server_side_encryption.startswith("aws:kms"):
        right, because = 'server_side_encryption = "aws:kms"', "server_side_encryption"
        yield Broken("kms_key_id", "needs KMS encryption", right, because)


def _of_watch(table: Watch) -> Iterator[Broken]:
    name, is_absolute = name_of(table), os.path.isabs(table.directory)
    if not is_absolute:
        yield Broken("directory", "is not an absolute path", 'such as "/var/log/nginx"')
    is_name = bool(name) and "/" not in name and name.isprintable()
    yield from _of_pattern(table)
    if (is_absolute or table.name) and not is_name:
        yield Broken("name", f"{name!r} is not a name", "it becomes part of keys")
    lowest, highest = LEVELS[table.compression]
    if not lowest <= table.compression_level <= highest:
        right = f"{lowest} to {highest} for {table.compression}"
        yield Broken("compression_level", f"{table.compression_level}", right, "compression")
    yield from _of_archive(table)
    yield from _of_ages(table)
    yield from _of_segments(table)
    for key in ("include", "exclude", "live"):
        for glob in dict.fromkeys(getattr(table, key)):
            if not _is_glob(glob):
                right = 'such as "*.log.*", relative to the directory'
                yield Broken(key, f"{glob!r} is not a glob", right)


def _of_ages(table: Watch) -> Iterator[Broken]:
    """A file that must wait so long would be too old by then, where it is first seen late."""
    for key in ("min_age", "settle"):
        seconds = getattr(table, f"{key}_seconds")
        if 0 < table.ignore_older_seconds <= seconds:
            what = f"{table.ignore_older_seconds:g} s, and files wait for {key}: {seconds:g} s"
            yield Broken("ignore_older", what, "more than that, or none", key)


def _of_segments(table: Watch) -> Iterator[Broken]:
    if 0 < table.live_interval_seconds < LEAST_PAUSE_SECONDS:
        right = f'at least "{LEAST_PAUSE_SECONDS:g}s": each segment is a request and an object'
        yield Broken("live_interval", f"{table.live_interval_seconds:g} s", right)
    if 0 < table.live_bytes < LEAST_BYTES:
        right = f'at least "{LEAST_BYTES // 1024}KiB"'
        yield Broken("live_bytes", f"{table.live_bytes} bytes", right)


def _of_pattern(table: Watch) -> Iterator[Broken]:
    _, pattern = split_directory(table.directory)
    for name in filter(None, pattern.split("/")):
        if "**" in name:
            right = "end the directory before it: subdirectories are watched, too (recursive)"
            yield Broken("directory", f"{name!r} is not possible", right)
        elif name in (".", "..") or not _is_glob(name):
            right = 'such as "/srv/*/logs"; a bracket in a name is written "[[]"'
            yield Broken("directory", f"{name!r} is not a glob", right)


def _of_archive(table: Watch) -> Iterator[Broken]:
    archive = table.archive_directory
    is_needed = archive or table.after_upload is AfterUpload.ARCHIVE
    if is_needed and not os.path.isabs(archive):
        right = 'after_upload = "archive" needs an absolute path'
        yield Broken("archive_directory", f"{archive!r}", right)
    elif (
        archive
        and os.path.normpath(archive) == split_directory(os.path.normpath(table.directory))[0]
    ):
        right = "a directory inside or outside of it"
        yield Broken("archive_directory", "is the watched directory", right)


def _of_scan(table: Scan) -> Iterator[Broken]:
    if table.interval_seconds < 0.1:
        yield Broken("interval", f"{table.interval_seconds:g} s", 'at least "100ms"')


def _of_disk(table: Disk) -> Iterator[Broken]:
    high, low = table.high_water_ratio, table.low_water_ratio
    for key, ratio, least in (("high_water", high, 0.0), ("low_water", low, None)):
        if ratio != least and not 0 < ratio < 1:
            yield Broken(key, f"{100 * ratio:g} %", "between 0 and 100 %")
    if 0 < high <= low < 1:
        what = f"{100 * low:g} % is not below high_water"
        yield Broken("low_water", what, f"less than {100 * high:g} %", "high_water")
    if table.removes_kept and not high:
        yield Broken("removes_kept", "needs high_water", 'such as "85%"', "high_water")


def _of_uploads(table: Uploads) -> Iterator[Broken]:
    for key, most in (("max_in_flight", 1024), ("concurrent_files", 64), ("concurrent_parts", 64)):
        if not 1 <= getattr(table, key) <= most:
            yield Broken(key, f"{getattr(table, key)}", f"1 to {most}")
    if not 0 <= table.held_files <= MOST_HELD_FILES:
        yield Broken("held_files", f"{table.held_files}", f"0 to {MOST_HELD_FILES}")
    if not MIN_PART_BYTES <= table.part_size_bytes <= MAX_PART_BYTES:
        yield Broken("part_size", f"{table.part_size_bytes} bytes", '"5MiB" to "5GiB"')
    yield from _of_memory(table)


def _of_memory(table: Uploads) -> Iterator[Broken]:
    memory, rate = table.memory_limit_bytes, table.bandwidth_limit_bytes_per_second
    slowest = slowest_bandwidth(memory)
    if 0 < rate < slowest:
        what = f"{rate:g} bytes per second are too few for so much memory"
        least = f'"{-(-slowest // 1024)}KiB/s"'
        right = f"at least {least}, or lower memory_limit"
        yield Broken("bandwidth_limit", what, right, "memory_limit")
    needed = table.part_size_bytes + 2 * FRAME_BYTES
    if memory < needed:
        right = f"at least {needed} bytes for one part of this size"
        yield Broken("memory_limit", f"{memory} bytes", right, "part_size")


def broken_share(table: Uploads, destinations: int) -> Iterator[Broken]:
    """Whether there is memory for a part of each of so many destinations."""
    memory, needed = table.memory_limit_bytes, table.part_size_bytes + 2 * FRAME_BYTES
    if destinations > 1 and memory < destinations * needed:
        right = f"at least {destinations * needed} bytes for one part of this size each"
        yield Broken("memory_limit", f"{memory} bytes for {destinations} destinations", right)


def _of_credentials(table: Credentials) -> Iterator[Broken]:
    yield from _of_url("metadata_endpoint", table.metadata_endpoint)
    for key in ("metadata_endpoint", "instance_profile_name"):
        if getattr(table, key) and table.source == "container":
            what = "is of the metadata service, which is not asked"
            yield Broken(key, what, 'leave it out, or source = "imds"', "source")


def _of_instance(table: InstanceTable) -> Iterator[Broken]:
    for key, (form, right) in _INSTANCE.items():
        text = getattr(table, key)
        if text and not re.fullmatch(form, text):
            yield Broken(key, f"{text!r} cannot be", right)


def _of_termination(table: Termination) -> Iterator[Broken]:
    if table.lifecycle_timeout_seconds < 30:
        what = f"{table.lifecycle_timeout_seconds:g} s"
        yield Broken("lifecycle_timeout", what, 'at least "30s", as AWS has it')
    for key, why in (("lifecycle_hook", "autoscaling"), ("autoscaling_group", "lifecycle_hook")):
        if getattr(table, key) and not getattr(table, why):
            yield Broken(key, f"needs {why}", f"set termination.{why}", why)


def _of_fleet(table: Fleet) -> Iterator[Broken]:
    seconds = table.heartbeat_seconds
    if seconds and not 60.0 <= seconds <= 7 * DAY_SECONDS:
        yield Broken("heartbeat", "is too often or too seldom", '"1m" to "7d", such as "1h"')


def _of_http(table: Http) -> Iterator[Broken]:
    if table.listen and not _is_address(table.listen):
        yield Broken("listen", "is not HOST:PORT", '"127.0.0.1:9464"')


def _of_manifest(table: ManifestTable) -> Iterator[Broken]:
    if 0 < table.interval_seconds < LEAST_INTERVAL_SECONDS:
        right = f'at least "{LEAST_INTERVAL_SECONDS:g}s": each is a request and an object'
        yield Broken("interval", f"{table.interval_seconds:g} s", right)


_RULES: dict[type, Callable[[Any], Iterator[Broken]]] = {
    Destination: _of_destination,
    Watch: _of_watch,
    Scan: _of_scan,
    Disk: _of_disk,
    Uploads: _of_uploads,
    Credentials: _of_credentials,
    InstanceTable: _of_instance,
    Termination: _of_termination,
    Fleet: _of_fleet,
    Http: _of_http,
    ManifestTable: _of_manifest,
}


def _is_glob(text: str) -> bool:
    try:
        glob_pattern(text)
    except re.error:
        return False
    return bool(text) and not text.startswith("/")


def _of_url(key: str, text: str) -> Iterator[Broken]:
    if text and not _is_url(text):
        yield Broken(key, "is not an http(s) URL")
    elif "@" in text:  # what is logged would hold it
        yield Broken(key, "holds a user or a password", '"https://HOST:PORT"')


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        is_host = _HOST.fullmatch(parts.hostname or "")
        is_whole = bool(is_host) and parts.port != 0 and text.split() == [text]
    except ValueError:
        return False
    return is_whole and parts.scheme in ("http", "https")


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host and re.fullmatch("[0-9]{1,5}", port)) and int(port) < 65536

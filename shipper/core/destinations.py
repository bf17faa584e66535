"""Where objects go, and what each is written with: ``[destination]``, and a watch's own settings.

A destination has an empty name if it is ``[destination]``, else that of ``[destinations.NAME]``.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

from shipper.core.types import ChecksumAlgorithm, KeyTemplate, Watch, WatchName

DEFAULT_KEY = (
    "{prefix}{watch}/{instance_id}/dt={mtime:%Y-%m-%d}/"
    "{stem}.{mtime:%Y%m%dT%H%M%SZ}.{digest}{segment}{extension}"
)
HIVE_KEY = DEFAULT_KEY.replace("{watch}/{instance_id}/", "watch={watch}/instance={instance_id}/")
LAYOUTS = {"hive": HIVE_KEY}
"""Templates that have a name. The configuration holds the template, never the name."""


@dataclass(frozen=True, slots=True)
class Destination:
    """``[destination]``: the bucket, and how objects are written to it."""

    bucket: str
    """The bucket's name, or an access point's ARN or alias. A multi-region access point needs the
    ``crt`` extra. Directory buckets (``--x-s3``) cannot be used. ``{tag:NAME}`` in a name stands
    for a tag of the instance, without which nothing is sent."""
    prefix: str = "logs/"
    """What ``{prefix}`` stands for in the key. The slash at its end is yours to write.
    ``{tag:NAME}`` stands for a tag of the instance, as in ``bucket``."""
    key: KeyTemplate = DEFAULT_KEY
    """The template of every key. ``"hive"`` is the default with ``NAME=`` before each directory,
    so that Athena, DuckDB and Spark read watch, instance and day from the key as columns."""
    region: str = ""
    """The bucket's region. When empty, the instance's."""
    endpoint_url: str = ""
    """An S3-compatible server. When empty, AWS."""
    addressing_style: Literal["auto", "virtual", "path"] = "auto"
    """Whether the bucket's name is in the host's name or in the path."""
    use_fips_endpoint: bool = False
    """Whether FIPS endpoints are used."""
    use_dualstack_endpoint: bool = False
    """Whether endpoints with IPv4 and IPv6 are used."""
    expected_bucket_owner: str = ""
    """The id of the account that must own the bucket. S3 checks it at every call."""
    storage_class: str = ""
    """Such as ``STANDARD_IA``. When empty, the bucket's default."""
    server_side_encryption: Literal["", "AES256", "aws:kms", "aws:kms:dsse"] = ""
    """How S3 encrypts. When empty, as the bucket says."""
    kms_key_id: str = ""
    """The key's id, ARN or alias, for the KMS kinds."""
    bucket_key_enabled: bool = False
    """Whether an S3 bucket key is used with KMS."""
    acl: str = ""
    """A canned ACL, such as ``bucket-owner-full-control``."""
    tags: tuple[tuple[str, str], ...] = ()
    """Tags of every object."""
    checksum: ChecksumAlgorithm = ChecksumAlgorithm.CRC64NVME
    """The checksum that S3 verifies. ``crc64nvme`` needs the ``crt`` extra; without it ``crc32``
    is used, and a log line says so. ``md5`` sends Content-MD5, for servers that know nothing
    else."""
    conditional_writes: bool = True
    """Whether every write says ``If-None-Match: *``, so that no object is replaced."""
    sign_payloads: bool = False
    """Whether the signature covers the SHA-256 of every body. Over plain http it always does."""
    role_arn: str = ""
    """A role to assume for S3, such as for another account's bucket, at STS's regional endpoint or
    ``$AWS_ENDPOINT_URL_STS``."""
    external_id: str = ""
    """What that role's trust policy asks for."""
    object_lock_mode: Literal["", "GOVERNANCE", "COMPLIANCE"] = ""
    """Whether each object is locked until ``object_lock_retain`` is over. The bucket must have
    Object Lock, and the role ``s3:PutObjectRetention``, which ``shipper iam policy`` then prints.
    """
    object_lock_retain_seconds: float = 0.0
    """How long, from the moment an object's write begins: ``"400d"``. At least a day."""
    content_type: str = "application/octet-stream"
    """The objects' ``Content-Type``."""
    content_encoding: str = ""
    """The objects' ``Content-Encoding``. When empty or ``auto``, none: objects are stored as they
    are to be read, and a client that decodes by itself would undo the compression."""


WRITTEN_AS = WatchName("/heartbeat")
"""Stands for a watch where it is said what heartbeats are written with: no watch is called so."""
STORAGE_CLASSES = (
    *("STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING"),
    *("GLACIER", "DEEP_ARCHIVE", "OUTPOSTS", "GLACIER_IR", "SNOW", "EXPRESS_ONEZONE"),
    *("FSX_OPENZFS", "FSX_ONTAP"),
)
"""AWS's names; a compatible server may have others."""
MOST_TAGS = 10
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html"""
SHOWN_DEFAULT = "default"
"""What people read as the name of ``[destination]``."""


@dataclass(frozen=True, slots=True)
class Minimum:
    """What S3 bills an object of a storage class for at least."""

    size_bytes: int
    days: int
    is_added: bool = False
    """The bytes are billed beside the object's own, not instead of fewer."""


MINIMA = {
    "STANDARD_IA": Minimum(128 * 1024, 30),
    "ONEZONE_IA": Minimum(128 * 1024, 30),
    "GLACIER_IR": Minimum(128 * 1024, 90),
    "GLACIER": Minimum(40 * 1024, 90, is_added=True),
    "DEEP_ARCHIVE": Minimum(40 * 1024, 180, is_added=True),
}
"""https://aws.amazon.com/s3/pricing/ and
https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-class-intro.html"""
OVERRIDES = tuple(one.name for one in fields(Destination) if one.name in Watch.__annotations__)
"""What a watch may say for itself; left empty, its destination's word counts."""


def shown(name: str) -> str:
    """A destination's name for people."""
    return name or SHOWN_DEFAULT


def table_of(name: str) -> str:
    """The table of the configuration that it is."""
    return f"destinations.{name}" if name else "destination"


def etags_are_md5(encryption: str) -> bool:
    """Whether a listing's ETag is the MD5 of the bytes; not so under SSE-KMS."""
    return not encryption.startswith("aws:kms")


def for_watch(destination: Destination, watch: Watch) -> Destination:
    """The destination as the watch uses it.

    A watch that asks for another kind of encryption does not inherit the KMS key.
    """
    given = {name: getattr(watch, name) for name in OVERRIDES if getattr(watch, name)}
    if not given.get("server_side_encryption", "aws:kms").startswith("aws:kms"):
        destination = replace(destination, kms_key_id="", bucket_key_enabled=False)
    return replace(destination, **given)


def for_heartbeats(destination: Destination) -> Destination:
    """As an object is written that is replaced every hour: nothing that lasts longer or is billed
    for longer."""
    return replace(
        destination,
        storage_class="",
        object_lock_mode="",
        object_lock_retain_seconds=0.0,
        content_type="application/json",
        content_encoding="",
    )


@dataclass(frozen=True, slots=True)
class UploadSettings:
    """What uploads to a destination are begun on.

    ``bucket`` is its address. ``digests`` has, for each watch, a hash of every setting that cannot
    be changed once CreateMultipartUpload was called.
    """

    bucket: str
    digests: Mapping[WatchName, str]


def upload_settings_of(
    destination: Destination,
    watches: Mapping[WatchName, Destination],
    algorithm: ChecksumAlgorithm,
) -> UploadSettings:
    """The settings of today, of each watch as ``for_watch``; ``algorithm`` is the one in use."""
    bucket = f"{destination.endpoint_url}/{destination.bucket}"
    digests = {name: _digest(one, bucket, algorithm) for name, one in watches.items()}
    return UploadSettings(bucket, digests)


def _digest(destination: Destination, bucket: str, algorithm: ChecksumAlgorithm) -> str:
    settled = (
        bucket,
        algorithm.value,
        destination.storage_class,
        destination.server_side_encryption,
        destination.kms_key_id,
        destination.bucket_key_enabled,
        destination.acl,
        tuple(sorted(destination.tags)),
        destination.object_lock_mode,
        destination.object_lock_retain_seconds,
        destination.content_type,
        destination.content_encoding,
    )
    return hashlib.sha256(repr(settled).encode()).hexdigest()

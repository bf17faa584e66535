"""``{tag:NAME}`` in the bucket and the prefix of a destination: tags of the instance.

They are known once the metadata service has answered. A bucket or prefix without one of its tags
would be another one, so until all are there, nothing is named or sent.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from shipper.core.destinations import Destination
from shipper.core.object_keys import TAG, fact, filled, tags_in

ANY_VALUE = "\ue000"
"""Stands for a tag in a name that is to match every value."""

_IN_BUCKETS = re.compile(r"[A-Za-z0-9.-]+")
_BUCKET = re.compile(r"[A-Za-z0-9._-]{3,63}(?<!--x-s3)(?<!--xa-s3)")


def tags_of(destination: Destination) -> frozenset[str]:
    """Every tag that its names and keys need."""
    return tags_in(destination.key) | needed_tags(destination)


def needed_tags(destination: Destination) -> frozenset[str]:
    """The tags without which it is no destination."""
    return frozenset(TAG.findall(destination.bucket) + TAG.findall(destination.prefix))


def resolved(destination: Destination, tags: Mapping[str, str]) -> Destination:
    """The destination of an instance with these tags."""
    bucket, prefix = filled(destination.bucket, tags), filled(destination.prefix, tags)
    return replace(destination, bucket=bucket, prefix=prefix)


def with_any_tags(destination: Destination) -> Destination:
    """The destination with a mark where any tag stands."""
    bucket, prefix = TAG.sub(ANY_VALUE, destination.bucket), TAG.sub(ANY_VALUE, destination.prefix)
    return replace(destination, bucket=bucket, prefix=prefix)


def has_any_tag(destination: Destination) -> bool:
    """Whether ``with_any_tags`` has put its mark there."""
    return ANY_VALUE in destination.bucket + destination.prefix


def unfit(destination: Destination, tags: Mapping[str, str], table: str = "destination") -> str:
    """Why an instance with these tags has no such destination, which ``table`` of the
    configuration says; empty where it has."""
    for key in ("bucket", "prefix"):
        for name in TAG.findall(getattr(destination, key)):
            value = tags.get(name, "")
            if not value:
                return f"{table}.{key} needs the instance tag {name!r}, and there is none"
            if key == "bucket" and not _IN_BUCKETS.fullmatch(value):
                return f"the instance tag {name!r} is no part of a bucket's name: {fact(value)!r}"
    bucket = filled(destination.bucket, tags)
    if bucket != destination.bucket and not _BUCKET.fullmatch(bucket):
        return f"the instance's tags make {bucket!r}, which is no bucket's name"
    return ""

"""Access points in a bucket's place: their ARNs, as AWS prints them and as botocore takes them.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-naming.html
"""

import re
from dataclasses import dataclass

_ARN = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):"
    r"(?P<resource>s3:(?P<region>[a-z0-9-]*):[0-9]{12}:accesspoint[:/](?P<name>[a-z0-9.-]{3,50})"
    r"|s3-outposts:[a-z0-9-]+:[0-9]{12}:outpost[:/][a-z0-9-]+[:/]accesspoint[:/][a-z0-9-]{3,50})"
)
ALIAS_END = "-s3alias"


@dataclass(frozen=True, slots=True)
class AccessPoint:
    """``arn`` is as policies have it, with slashes."""

    arn: str
    partition: str
    is_multi_region: bool


def access_point_of(bucket: str) -> AccessPoint | None:
    """The access point that the text is the ARN of; None where it is no such ARN."""
    found = _ARN.fullmatch(bucket)
    if found is None:
        return None
    is_multi_region = found["region"] == ""
    if is_multi_region is not (found["name"] or "").endswith(".mrap"):
        return None
    service, region, account, name = found["resource"].split(":", 3)
    arn = f"arn:{found['partition']}:{service}:{region}:{account}:{name.replace(':', '/')}"
    return AccessPoint(arn, found["partition"], is_multi_region)

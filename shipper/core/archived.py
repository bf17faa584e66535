"""What a reader of the bucket finds in it."""

import shlex
from dataclasses import dataclass

from shipper.core.types import ETag, ObjectKey


@dataclass(frozen=True, slots=True)
class ArchivedObject:
    """An object as a listing shows it; ``modified_at`` is S3's clock."""

    key: ObjectKey
    size_bytes: int
    etag: ETag
    modified_at: float
    storage_class: str = "STANDARD"


_READER = (
    "the reader needs s3:ListBucket on the bucket and s3:GetObject on the prefix (with KMS also "
    "kms:Decrypt on the key); `shipper iam reader` prints the policy"
)
_SIGN_IN = (
    "sign in (`aws sso login`, with --profile NAME where it is not the default), or set "
    "AWS_PROFILE; the role of an EC2 instance is not used by itself"
)
_REGION = "name the bucket's region with --region, or leave it out to have it found"
_HINTS = {
    "NoCredentials ExpiredToken ExpiredTokenException TokenRefreshRequired": _SIGN_IN,
    "InvalidAccessKeyId InvalidToken SignatureDoesNotMatch InvalidClientTokenId": (
        "S3 does not take these credentials: another --profile? Do --endpoint-url and --region "
        "lead to where they are known?"
    ),
    "NoProfile": "`aws configure list-profiles` lists those there are",
    "AccessDenied": _READER,
    "NoSuchBucket InvalidBucketName": "correct --bucket, or the destination's bucket",
    "PermanentRedirect AuthorizationHeaderMalformed IllegalLocationConstraintException": _REGION,
    "RequestTimeTooSkewed": "this machine's clock is wrong: look at its time synchronisation",
    "InvalidRequest": (
        "look at --bucket, --region and --endpoint-url, and at ~/.aws/config ($AWS_CONFIG_FILE) "
        "and the programs and files that it names"
    ),
    "Unreachable Timeout": "look at DNS, routes and HTTPS_PROXY, and at --endpoint-url",
    "NotS3": "a proxy, a web filter or a captive portal answers in S3's place? Is it S3 there?",
    "Changed": "somebody wrote it again while it was read: begin anew",
    "NoSuchKey": "it was there when it was listed: does a lifecycle rule or somebody remove logs?",
}
READER_HINTS = {code: hint for codes, hint in _HINTS.items() for code in codes.split()}
"""What a reader of a bucket can do, by code."""


def restore_command(bucket: str, key: str, storage_class: str) -> str:
    """What brings an archived object back for reading.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/restoring-objects.html
    """
    request = "{}" if storage_class == "INTELLIGENT_TIERING" else "Days=7"
    words = ("aws", "s3api", "restore-object", "--bucket", bucket, "--key", key)
    return shlex.join((*words, "--restore-request", request))

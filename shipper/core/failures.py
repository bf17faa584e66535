"""What to do about any failure: one total function from (code, status) to a verdict.

The code is judged first, because an error may come inside of a 200. The status decides only for
codes that are not listed.
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from enum import Enum


class Verdict(Enum):
    """What happens to the shipment, or to the daemon."""

    RETRY = "try again: seconds first, then later, without end"
    CHECK_STORE = "the object may be there already: list and compare before anything else"
    RESTART = "the upload is unusable: begin a new one"
    REDISCOVER = "the file changed while it was read: discover it anew"
    PARK = "only an operator can mend this shipment"
    AWAIT_CREDENTIALS = "shut the gate until the role credentials have changed"
    HOLD = "shut the gate: nothing would pass; probe now and then"


_CODES = {
    Verdict.RETRY: """
        SlowDown ServiceUnavailable InternalError RequestTimeout RequestTimeTooSkewed Throttling
        ThrottlingException TooManyRequests OperationAborted BadDigest IncompleteBody
        XAmzContentSHA256Mismatch ChecksumMismatch Unreachable Timeout NotS3 Unreadable
        DuplicateUndecided ObjectUndecided WriteUndecided OutOfMemory OtherFileSystem
    """,
    Verdict.CHECK_STORE: "PreconditionFailed NoSuchUpload",
    Verdict.RESTART: """
        InvalidPart InvalidPartOrder EntityTooSmall ConditionalRequestConflict UploadExpired
    """,
    Verdict.REDISCOVER: "SourceChanged SourceVanished",
    Verdict.PARK: """
        SourceUnreadable NotRegular KeyTooLong KeyTooLongError KeyTaken ObjectMissing
        ObjectUnproven EntityTooLarge CrossDevice RemoveDenied WatchRemoved MetadataTooLarge
        LifecycleUnknown Bug TooLarge
    """,
    Verdict.AWAIT_CREDENTIALS: """
        ExpiredToken ExpiredTokenException TokenRefreshRequired InvalidToken InvalidAccessKeyId
        InvalidClientTokenId UnrecognizedClientException CredentialsUnavailable
    """,
    Verdict.HOLD: """
        AccessDenied AllAccessDisabled NoSuchBucket InvalidBucketName PermanentRedirect
        TemporaryRedirect AuthorizationHeaderMalformed IllegalLocationConstraintException
        SignatureDoesNotMatch InvalidStorageClass AccountProblem NotSignedUp
        KMS.DisabledException KMS.NotFoundException KMS.KMSInvalidStateException InvalidRequest
        InvalidArgument NotImplemented MissingContentLength JournalUnwritable
    """,
}
_BY_CODE = {code: verdict for verdict, codes in _CODES.items() for code in codes.split()}

TOO_MANY_CODES = frozenset(
    {"SlowDown", "ServiceUnavailable", "Throttling", "ThrottlingException", "TooManyRequests"}
)
"""Answers that mean: too many requests at once."""

OUTAGE_CODES = TOO_MANY_CODES | {
    "Unreachable",
    "Timeout",
    "NotS3",
    "InternalError",
    "RequestTimeTooSkewed",
}
"""When several shipments in a row fail with one of these, none of them is to blame."""

REMOVAL_CODES = frozenset({"RemoveDenied", "CrossDevice"})
"""Nothing failed but the removal of a source that S3 has."""

MISCONFIGURED_CODES = frozenset(
    {"NoProfile", "ProfileDeleted", "NoRole", "RoleUnusable"}
    | {"MetadataDisabled", "NotImdsV2", "AssumeRoleDenied"}
)
"""Why there are no credentials, where only an operator can mend it."""

_KNOWS_LESS = (
    "a compatible server that does not know what it was sent? Then set destination.checksum to "
    '"crc32" or "none", or destination.conditional_writes = false, and restart'
)
_REFUSED = frozenset(
    {"NotImplemented", "InvalidArgument", "InvalidRequest", "MissingContentLength"}
)
_KEYS_BY_WORD = (
    ("if-none-match", "destination.conditional_writes = false"),
    ("crc64", 'destination.checksum = "crc32", or "none"'),
    ("checksum", 'destination.checksum = "none"'),
    ("trailer", 'destination.checksum = "none"'),
    ("storage-class", "destination.storage_class"),
    ("storage class", "destination.storage_class"),
    ("tagging", "destination.tags"),
    ("x-amz-acl", "destination.acl"),
    ("encryption", "destination.server_side_encryption"),
)
"""A word in a refusal, in lower case, and the setting that leaves the refused thing out."""
_LOST = (
    "put the file back and `shipper retry` its number; if it is lost for good, `shipper "
    "acknowledge` the number"
)
_OTHER_REGION = "the bucket is in another region: set destination.region"
_HINTS = {
    "AccessDenied": "the role needs s3:PutObject on the prefix and s3:ListBucket on the bucket "
    "(with KMS also kms:GenerateDataKey and kms:Decrypt); `shipper iam policy` prints the policy",
    "NoSuchBucket": "create the bucket or correct destination.bucket",
    "PermanentRedirect": _OTHER_REGION,
    "AuthorizationHeaderMalformed": _OTHER_REGION,
    "IllegalLocationConstraintException": _OTHER_REGION,
    **dict.fromkeys(_REFUSED, _KNOWS_LESS),
    "SignatureDoesNotMatch": "look for a proxy that rewrites requests, or a wrong clock",
    "RequestTimeTooSkewed": "the machine's clock is wrong: look at its time synchronisation",
    "NotS3": "something between here and S3 answers in its place: a proxy or a captive portal?",
    "Unreachable": "no connection: look at routes, security groups, the VPC endpoint and DNS",
    "KeyTaken": "the key holds another object, or this log as a lost journal sent it with another "
    "compression_level or part_size; it was not overwritten. Compare the two, then `shipper "
    "retry`: it sends the log under another key. (Does the bucket encrypt with KMS by default? "
    "Then say so in destination.server_side_encryption, for its ETags tell nothing.)",
    "ObjectMissing": "S3 accepted it twice and does not list it: does something move objects "
    "away? `shipper retry` looks again",
    "ObjectUnproven": "S3 has the object, but nothing shows that it stored what was sent, so the "
    "file stays: set destination.sign_payloads = true, or a destination.checksum that the server "
    'repeats, restart, then `shipper retry`; or set after_upload = "keep"',
    "SourceVanished": _LOST,
    "SourceChanged": _LOST,
    "KeyTooLongError": "shorten destination.prefix or destination.key, then `shipper retry`",
    "SourceUnreadable": "give the daemon read permission on the file, then `shipper retry`",
    "RemoveDenied": "give the daemon write permission on the directory, then `shipper retry`",
    "CrossDevice": "archive_directory must be on the same file system as the watch",
    "WatchRemoved": "bring the watch back into the configuration, then `shipper retry`",
    "JournalUnwritable": "free space in the state directory",
    "Bug": "a bug of shipper: please report it with the traceback in the log; `shipper retry` "
    "tries again",
    "InvalidStorageClass": "correct destination.storage_class",
}


def judge(code: str, status: int = 0) -> Verdict:
    """What to do about a failure with this code and HTTP status (0 where there was none)."""
    if code in _BY_CODE:
        return _BY_CODE[code]
    if code.startswith("KMS.") or status in (301, 307, 401, 403, 404, 411, 501):
        return Verdict.HOLD
    return Verdict.CHECK_STORE if status == 412 else Verdict.RETRY


def is_outage(code: str, status: int = 0) -> bool:
    """Whether the network, S3 or the clock is likely to blame, and not the shipment."""
    return code in OUTAGE_CODES or (judge(code, status) is Verdict.RETRY and status >= 500)


def hint_for(code: str, said: str = "") -> str:
    """What an operator can do about it, or "". ``said`` may tell what it is that was refused."""
    if code in _REFUSED:
        for word, key in _KEYS_BY_WORD:
            if word in said.lower():
                return f"where the server does not know it, set {key} and restart"
    return _HINTS.get(code, "")

"""What to do about any failure: one total function from (code, status) to a verdict.

The code is judged first, because an error may come inside of a 200. The status decides only for
codes that are not listed.
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

import re
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
    REFUSED = "S3 refuses this request: hold what the refusal explains"


_CODES = {
    Verdict.RETRY: """
        SlowDown ServiceUnavailable InternalError RequestTimeout RequestTimeTooSkewed Throttling
        ThrottlingException TooManyRequests OperationAborted BadDigest IncompleteBody
        XAmzContentSHA256Mismatch ChecksumMismatch Unreachable Timeout NotS3 Unreadable
        DuplicateUndecided ObjectUndecided WriteUndecided OutOfMemory OtherFileSystem SourceInUse
        WriterUnproven
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
        AllAccessDisabled NoSuchBucket InvalidBucketName PermanentRedirect TemporaryRedirect
        AuthorizationHeaderMalformed IllegalLocationConstraintException SignatureDoesNotMatch
        AccountProblem NotSignedUp JournalUnwritable
    """,
    Verdict.REFUSED: """
        AccessDenied InvalidStorageClass InvalidRequest InvalidArgument NotImplemented
        MissingContentLength InvalidBucketState
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

WITHOUT_CODE = "Http"
"""How a code begins that was made of a status, because the answer had no code."""
_PASSING = frozenset({408, 409, 423, 425, 429})
"""Statuses of 4xx that another attempt may mend."""
_OF_KEYS = frozenset(
    {"AccessDenied", "AccessForbidden", "Forbidden", "MethodNotAllowed", "InvalidObjectState"}
    | {
        "InvalidURI",
        "InvalidObjectName",
        "XMinioInvalidObjectName",
        "XMinioObjectExistsAsDirectory",
    }
)

REMOVAL_CODES = frozenset({"RemoveDenied", "CrossDevice"})
"""Nothing failed but the removal of a source that S3 has."""

REMOVAL_WAITS_CODES = frozenset({"SourceInUse", "WriterUnproven"})
"""S3 has the source, which somebody writes to, or may write to."""

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
    ("accesscontrollist", "destination.acl"),
    ("malformedacl", "destination.acl"),
    ("if-none-match", "destination.conditional_writes = false"),
    ("crc64", 'destination.checksum = "crc32", or "none"'),
    ("checksum", 'destination.checksum = "none"'),
    ("trailer", 'destination.checksum = "none"'),
    ("storage-class", "destination.storage_class"),
    ("storage class", "destination.storage_class"),
    ("storageclass", "destination.storage_class"),
    ("x-amz-acl", "destination.acl"),
    ("acls", "destination.acl"),
    ("encryption", "destination.server_side_encryption"),
    ("kms", "destination.kms_key_id"),
    ("tag", "destination.tags"),
)
"""A word in a refusal, in lower case, and the setting that leaves the refused thing out."""
_ANY_SETTING = (
    "S3 refuses what every request says: correct or leave out acl, tags, storage_class, checksum, "
    "server_side_encryption, kms_key_id or conditional_writes of the destination, and restart"
)
_DENYING = re.compile(
    r"explicit deny in an? ([\w -]*?(?:policy|permissions boundary))"
    r"|because no ([\w -]*?(?:policy|permissions boundary)) allows"
)
"""https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html"""
_WHERE = {
    "identity-based policy": "attached to the role",
    "resource-based policy": "the bucket policy, or that of the access point or KMS key",
    "service control policy": "of the organization",
    "resource control policy": "of the organization that owns the bucket",
    "vpc endpoint policy": "of the VPC endpoint for S3 that the instance uses",
    "permissions boundary": "of the role",
    "session policy": "of the session in which the role was assumed",
}
_REMOVAL_HINTS = (
    (
        "not permitted",
        "immutable or append-only (`lsattr`, `chattr -ia`)? Another's, in a sticky directory?",
    ),
    ("read-only", "name the directory in the unit's ReadWritePaths=, or mount it writable."),
)
"""The system's words, in lower case, where it is not the directory's permissions."""
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
    "RequestTimeTooSkewed": "the machine's clock is wrong: look at its time synchronisation; the "
    "next request is signed with the time that S3 told",
    "ExpiredToken": "the role credentials have expired, and new ones are asked for; if it stays "
    "so, `shipper check` asks the metadata service, and says whether the clock is wrong",
    "InvalidBucketState": "the bucket's own settings forbid such writes: look at its Object Lock "
    "and versioning, and at destination.storage_class",
    "InvalidTag": "S3 takes letters, digits, spaces and + - = . _ : / @ in tags: correct "
    "destination.tags and restart",
    "MethodNotAllowed": "the server or an object lock forbids it for this key: look at the "
    "bucket's policies, and at destination.endpoint_url",
    "NotS3": "something between here and S3 answers in its place: a proxy or a captive portal?",
    "Unreachable": "no connection: look at routes, security groups, the VPC endpoint and DNS",
    "KeyTaken": "the key holds another object, or this log as a lost journal sent it with another "
    "compression_level or part_size; it was not overwritten. Compare the two, then `shipper "
    "retry`: it sends the log under another key. (Does the bucket encrypt with KMS by default? "
    "Then say so in destination.server_side_encryption, for its ETags tell nothing.)",
    "ObjectMissing": "S3 accepted it twice and does not list it: does something move objects "
    "away? `shipper retry` looks again",
    "ObjectUnproven": "while nothing shows that S3 stored what was sent, the file stays: set "
    "destination.sign_payloads = true, or a destination.checksum that the server "
    'repeats, restart, then `shipper retry`; or set after_upload = "keep"',
    "SourceVanished": _LOST,
    "SourceChanged": _LOST,
    "KeyTooLongError": "shorten destination.prefix or destination.key, then `shipper retry`",
    "SourceUnreadable": "give the daemon read permission on the file, then `shipper retry`",
    "RemoveDenied": "give the daemon write permission on the directory, then `shipper retry`",
    "CrossDevice": "archive_directory must be on the same file system as the watch",
    "WriterUnproven": "give the daemon CAP_LEASE (the unit has it); where the file system cannot "
    "tell, after_upload_unproven = true on the watch removes the file all the same",
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
    if status in (301, 307):
        return Verdict.HOLD
    if status == 412:
        return Verdict.CHECK_STORE
    is_refused = status == 501 or (400 <= status < 500 and status not in _PASSING)
    is_refused = is_refused and not code.startswith(WITHOUT_CODE)
    return Verdict.REFUSED if code.startswith("KMS.") or is_refused else Verdict.RETRY


def depends_on_key(code: str) -> bool:
    """Whether a policy or a key decides, so that another object may pass."""
    return code.startswith("KMS.") or code in _OF_KEYS


def is_outage(code: str, status: int = 0) -> bool:
    """Whether the network, S3 or the clock is likely to blame, and not the shipment."""
    return code in OUTAGE_CODES or (judge(code, status) is Verdict.RETRY and status >= 500)


def hint_for(code: str, said: str = "", status: int = 0) -> str:
    """What an operator can do about it, or "". ``said`` may tell what it is that was refused."""
    said = said.lower()
    by_words = {"AccessDenied": _hint_denied, "RemoveDenied": _hint_kept}.get(code)
    if by_words is not None:
        return by_words(said)
    is_unlisted = code not in _HINTS and judge(code, status) is Verdict.REFUSED
    if code in _REFUSED or is_unlisted or code.startswith("KMS."):
        if "required" in said and ("checksum" in said or "content-md5" in said):
            also = '"crc32", or "md5"' if "x-amz-checksum" in said else '"md5"'
            return f"the bucket demands a checksum: set destination.checksum = {also}, and restart"
        for word, key in _KEYS_BY_WORD:
            if word in f"{code} {said}".lower():
                what = "set" if "=" in key else "correct or leave out"
                return f"where the server does not know or take it, {what} {key} and restart"
    return _HINTS.get(code, _ANY_SETTING if is_unlisted and status else "")


def _hint_kept(said: str) -> str:
    hint = next((hint for words, hint in _REMOVAL_HINTS if words in said), "")
    return f"{hint} Then `shipper retry`" if hint else _HINTS["RemoveDenied"]


def _hint_denied(said: str) -> str:
    """S3 says which kind of policy denies, or is the one that does not allow."""
    found = _DENYING.search(said)
    if found is None:
        return _HINTS["AccessDenied"]
    kind = (found[1] or found[2]).strip()
    where = f" ({_WHERE[kind]})" if kind in _WHERE else ""
    kind = kind.replace("vpc", "VPC")
    if found[1]:
        return f"an explicit deny in a {kind}{where}: no permission of the role outweighs it"
    return f"no {kind}{where} allows it: `shipper iam policy` prints what it has to allow"

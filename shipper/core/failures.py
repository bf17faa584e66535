"""What to do about any failure: one total function from (code, status) to a verdict.

The code is judged first, because an error may come inside of a 200. The status decides only for
codes that are not listed.
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from enum import Enum

from shipper.core import hints


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
        AllAccessDisabled NoSuchBucket InvalidBucketName PermanentRedirect
        AuthorizationHeaderMalformed IllegalLocationConstraintException AccountProblem NotSignedUp
        JournalUnwritable
    """,
    Verdict.REFUSED: """
        AccessDenied InvalidStorageClass InvalidRequest InvalidArgument NotImplemented
        MissingContentLength InvalidBucketState SignatureDoesNotMatch TemporaryRedirect
    """,
}
VERDICTS = {code: verdict for verdict, codes in _CODES.items() for code in codes.split()}

TOO_MANY_CODES = frozenset(
    {"SlowDown", "ServiceUnavailable", "Throttling", "ThrottlingException", "TooManyRequests"}
)
"""Answers that mean: too many requests at once."""
_STRAINED_CODES = TOO_MANY_CODES | {"Timeout", "InternalError", "RequestTimeout"}

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
    | {"ContainerRefused", "BadAuthorization"}
)
"""Why there are no credentials, where only an operator can mend it."""

_SAYING_LITTLE = frozenset(
    {"NotImplemented", "InvalidArgument", "InvalidRequest", "MissingContentLength"}
)
"""Codes of which only S3's words tell what is refused."""


def judge(code: str, status: int = 0) -> Verdict:
    """What to do about a failure with this code and HTTP status (0 where there was none)."""
    if code in VERDICTS:
        return VERDICTS[code]
    if status == 301:
        return Verdict.HOLD
    if status == 412:
        return Verdict.CHECK_STORE
    is_refused = status in (307, 501) or (400 <= status < 500 and status not in _PASSING)
    is_refused = is_refused and not code.startswith(WITHOUT_CODE)
    return Verdict.REFUSED if code.startswith("KMS.") or is_refused else Verdict.RETRY


def is_refusal(code: str) -> bool:
    """Whether S3 refuses what waits with this code, and an operator has to mend that."""
    return judge(code) is Verdict.REFUSED or depends_on_key(code)


def depends_on_key(code: str) -> bool:
    """Whether a policy or a key decides, so that another object may pass."""
    return code.startswith("KMS.") or code in _OF_KEYS


def is_strained(code: str, status: int = 0) -> bool:
    """Whether fewer requests at once may get better answers."""
    return code in _STRAINED_CODES or (status >= 500 and status != 501)


def is_outage(code: str, status: int = 0) -> bool:
    """Whether the network, S3 or the clock is likely to blame, and not the shipment."""
    return code in OUTAGE_CODES or (judge(code, status) is Verdict.RETRY and status >= 500)


def hint_for(code: str, said: str = "", status: int = 0) -> str:
    """What an operator can do about it, or "". ``said`` may tell what it is that was refused."""
    said = said.lower()
    if code == "AccessDenied":
        return hints.denied(said)
    code = "Unreachable" if code == "Timeout" else code
    better = next((hint for word, hint in hints.BY_WORD.get(code, ()) if word in said), "")
    if better or (code in hints.OF_CODES and code not in _SAYING_LITTLE):
        return better or hints.OF_CODES[code]
    return _hint_unlisted(code, said, status)


def _hint_unlisted(code: str, said: str, status: int) -> str:
    """Of codes that say little, or that are another server's, or tomorrow's."""
    by_part = next((hint for part, hint in hints.BY_PART if part in code.lower()), "")
    if by_part:
        return by_part
    if code.startswith(WITHOUT_CODE):
        return hints.ITS_TROUBLE if code.startswith(f"{WITHOUT_CODE}5") else hints.NO_REASON
    verdict = judge(code, status)
    if verdict is Verdict.HOLD or status == 307:
        return hints.OF_CODES["PermanentRedirect"]
    if verdict is not Verdict.REFUSED:
        return hints.ITS_TROUBLE if status >= 500 else ""
    if "required" in said and ("checksum" in said or "content-md5" in said):
        also = '"crc32", or "md5"' if "x-amz-checksum" in said else '"md5"'
        return f"the bucket demands a checksum: set destination.checksum = {also}, and restart"
    for word, key in hints.SETTINGS_BY_WORD:
        if word in f"{code} {said}".lower():
            what = "set" if "=" in key else "correct or leave out"
            return f"where the server does not know or take it, {what} {key} and restart"
    return hints.OF_CODES.get(code, hints.ANY_SETTING if status else "")

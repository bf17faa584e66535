"""What to do about any failure: one test per row of the table of failures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.failures import OUTAGE_CODES, VERDICTS, Verdict, hint_for, is_outage, judge

ROWS = {
    Verdict.RETRY: [
        ("InternalError", 500),
        ("ServiceUnavailable", 503),
        ("SlowDown", 503),
        ("Timeout", 0),
        ("Unreachable", 0),
        ("RequestTimeout", 400),
        ("RequestTimeTooSkewed", 403),
        ("BadDigest", 400),
        ("OperationAborted", 409),
        ("NotS3", 200),
        ("never heard of", 500),
        ("never heard of", 409),
        ("Http400", 400),
        ("Http403", 403),
        ("never heard of", 0),
    ],
    Verdict.CHECK_STORE: [("PreconditionFailed", 412), ("NoSuchUpload", 404), ("unknown", 412)],
    Verdict.RESTART: [
        ("InvalidPart", 400),
        ("ConditionalRequestConflict", 409),
        ("UploadExpired", 0),
    ],
    Verdict.REDISCOVER: [("SourceChanged", 0), ("SourceVanished", 0)],
    Verdict.PARK: [
        ("SourceUnreadable", 0),
        ("KeyTooLongError", 400),
        ("KeyTaken", 0),
        ("RemoveDenied", 0),
        ("CrossDevice", 0),
        ("WatchRemoved", 0),
    ],
    Verdict.AWAIT_CREDENTIALS: [
        ("ExpiredToken", 400),
        ("InvalidToken", 400),
        ("InvalidAccessKeyId", 403),
        ("CredentialsUnavailable", 0),
    ],
    Verdict.HOLD: [
        ("NoSuchBucket", 404),
        ("AuthorizationHeaderMalformed", 400),
        ("PermanentRedirect", 301),
        ("unknown", 307),
        ("JournalUnwritable", 0),
    ],
    Verdict.REFUSED: [
        ("AccessDenied", 403),
        ("KMS.DisabledException", 400),
        ("KMS.Whatever", 400),
        ("AccessControlListNotSupported", 400),
        ("InvalidTag", 400),
        ("MalformedACLError", 400),
        ("MethodNotAllowed", 405),
        ("InvalidBucketState", 409),
        ("XMinioStorageFull", 400),
        ("UnsupportedOperation", 501),
        ("unknown", 400),
        ("unknown", 403),
    ],
}


@pytest.mark.parametrize(
    ("verdict", "code", "status"),
    [(verdict, code, status) for verdict, rows in ROWS.items() for code, status in rows],
)
def test_every_row_of_the_table(verdict: Verdict, code: str, status: int) -> None:
    assert judge(code, status) is verdict


@given(st.text(), st.integers(0, 999))
def test_any_failure_has_a_verdict(code: str, status: int) -> None:
    assert isinstance(judge(code, status), Verdict)


def test_an_error_inside_a_200_is_judged_by_its_code() -> None:
    assert judge("InternalError", 200) is Verdict.RETRY
    assert judge("AccessDenied", 200) is Verdict.REFUSED


def test_every_verdict_has_a_row_here() -> None:
    assert set(ROWS) == set(Verdict)


STOPPING = {Verdict.PARK, Verdict.HOLD, Verdict.REFUSED, Verdict.AWAIT_CREDENTIALS}


@pytest.mark.parametrize(
    "code",
    sorted(OUTAGE_CODES | {code for code, verdict in VERDICTS.items() if verdict in STOPPING}),
)
def test_whatever_parks_a_shipment_or_shuts_the_gate_says_how_to_mend_it(code: str) -> None:
    assert hint_for(code)


@pytest.mark.parametrize(
    ("code", "status", "says"),
    [
        ("KMS.DisabledException", 400, "enable-key"),
        ("KMS.NotFoundException", 400, "bucket's region"),
        ("KMS.KMSInvalidStateException", 400, "deleted"),
        ("KMS.InvalidKeyUsageException", 400, "symmetric"),
        ("KMS.AccessDeniedException", 400, "kms:GenerateDataKey"),
        ("KMS.ThrottlingException", 400, "bucket_key_enabled"),
        ("QuotaExceeded", 403, "make room"),
        ("XMinioAdminBucketQuotaExceeded", 400, "make room"),
        ("ServiceQuotaExceededException", 400, "make room"),
        ("XMinioStorageFull", 507, "make room"),
        ("InvalidAccessKeyId", 403, "endpoint_url"),
        ("InvalidToken", 400, "endpoint_url"),
        ("InvalidBucketName", 400, "destination.bucket"),
        ("AllAccessDisabled", 403, "account"),
        ("UserSuspended", 403, "account"),
        ("AccessForbidden", 403, "s3:PutObject"),
        ("XMinioObjectExistsAsDirectory", 409, "destination.key"),
        ("SlowDown", 503, "fewer requests"),
        ("Tomorrow", 503, "S3 itself"),
        ("Tomorrow", 307, "destination.region"),
        ("Http502", 502, "S3 itself"),
        ("Http403", 403, "cut off"),
    ],
)
def test_a_hint_leads_to_the_cause_and_not_to_a_setting_that_is_right(
    code: str, status: int, says: str
) -> None:
    hint = hint_for(code, "no", status)
    assert says in hint
    assert "leave out" not in hint


@pytest.mark.parametrize("code", ["Unreachable", "Timeout"])
@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("no connection through the proxy http://p:1: Connection refused", "HTTPS_PROXY"),
        ("no connection through the proxy http://p:1: it answers HTTP 407", "wants a user"),
        ("the proxy's URL is malformed", "%2F"),
        ("no TLS with https://x: the certificate is not trusted: self-signed", "AWS_CA_BUNDLE"),
        ("no connection to https://x: the name is not resolved: unknown", "DNS"),
        ("no connection to https://x: Connection refused", "nothing listens"),
        ("no connection to https://x: No route to host", "route table"),
        ("no connection to https://x: Network is unreachable", "route table"),
        ("no connection to https://x: timed out", "security groups"),
        ("", "security groups"),
    ],
)
def test_without_a_connection_the_cause_decides_what_to_look_at(
    code: str, said: str, says: str
) -> None:
    assert says in hint_for(code, f"PutObject: {said}")


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("database or disk is full", "free space"),
        ("attempt to write a readonly database", "mounted read-write"),
        ("unable to open database file", "belong to the user"),
        ("disk I/O error", "kernel's log"),
    ],
)
def test_a_journal_that_cannot_be_written_is_told_by_sqlites_words(said: str, says: str) -> None:
    assert says in hint_for("JournalUnwritable", said)


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("/logs/a: Operation not permitted", "lsattr"),
        ("/logs/a: Operation not permitted", "sticky"),
        ("/logs/a: Read-only file system", "ReadWritePaths="),
        ("/logs/a: Permission denied", "write permission on the directory"),
    ],
)
def test_a_removal_that_was_refused_is_told_by_the_systems_words(said: str, hint: str) -> None:
    assert hint in hint_for("RemoveDenied", said)
    assert "shipper retry" in hint_for("RemoveDenied", said)


def test_a_code_that_says_it_all_has_no_hint() -> None:
    assert hint_for("BadDigest") == ""


@pytest.mark.parametrize(
    ("code", "status", "is_one"),
    [
        ("Unreachable", 0, True),
        ("SlowDown", 503, True),
        ("Http502", 502, True),
        ("BadDigest", 400, False),
        ("NoSuchUpload", 500, False),
        ("AccessDenied", 403, False),
    ],
)
def test_an_outage_is_what_concerns_everybody(code: str, status: int, is_one: bool) -> None:
    assert is_outage(code, status) is is_one


@pytest.mark.parametrize(
    ("code", "said", "key"),
    [
        ("AccessControlListNotSupported", "The bucket does not allow ACLs", "acl"),
        ("InvalidTag", "The TagValue you have provided is invalid", "tags"),
        ("MalformedACLError", "The XML you provided was not well-formed", "acl"),
        ("InvalidBucketState", "not valid with the current state", "storage_class"),
        ("KMS.DisabledException", "is disabled", "kms_key_id"),
        ("KMS.Tomorrow", "no", "kms_key_id"),
        ("Tomorrow", "x-amz-server-side-encryption is not for us", "server_side_encryption"),
        ("Tomorrow", "no", "storage_class"),
        (
            "InvalidRequest",
            "Content-MD5 HTTP header is required for Put Object",
            'checksum = "md5"',
        ),
        ("InvalidRequest", "Content-MD5 OR x-amz-checksum- is required", 'checksum = "crc32"'),
    ],
)
def test_a_refusal_that_only_the_configuration_mends_names_the_setting(
    code: str, said: str, key: str
) -> None:
    hint = hint_for(code, said, 400)
    assert key in hint
    assert 'checksum = "none"' not in hint


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (
            "with an explicit deny in a VPC endpoint policy",
            "explicit deny in a VPC endpoint policy",
        ),
        ("with an explicit deny in a service control policy: arn:aws:x", "of the organization"),
        ("with an explicit deny in a resource control policy", "resource control policy"),
        ("with an explicit deny in an identity-based policy", "attached to the role"),
        ("with an explicit deny in a resource-based policy", "the bucket policy"),
        ("with an explicit deny in a permissions boundary", "permissions boundary"),
        ("with an explicit deny in a session policy", "session policy"),
        ("with an explicit deny in a future policy", "explicit deny in a future policy"),
        (
            "because no VPC endpoint policy allows the s3:PutObject action",
            "no VPC endpoint policy",
        ),
        ("because no permissions boundary allows it", "no permissions boundary"),
        ("Access Denied", "the role needs s3:PutObject"),
    ],
)
def test_a_denial_names_the_policy_that_denies(said: str, kind: str) -> None:
    assert kind in hint_for("AccessDenied", f"not authorized to perform: s3:PutObject {said}", 403)


def test_expired_credentials_have_a_hint() -> None:
    assert "shipper check" in hint_for("ExpiredToken")


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ("CRC64NVME is not known", 'checksum = "crc32"'),
        ("x-amz-checksum-sha256", 'checksum = "none"'),
        ("If-None-Match", "conditional_writes = false"),
        ("x-amz-storage-class", "storage_class"),
        ("nothing of use", "conditional_writes = false"),
    ],
)
def test_a_refusal_is_told_with_what_would_leave_it_out(said: str, key: str) -> None:
    assert f"destination.{key}" in hint_for("NotImplemented", said)

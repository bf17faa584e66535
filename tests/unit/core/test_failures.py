"""What to do about any failure: one test per row of the table of failures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.failures import Verdict, hint_for, is_outage, judge

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
        ("AccessDenied", 403),
        ("NoSuchBucket", 404),
        ("AuthorizationHeaderMalformed", 400),
        ("PermanentRedirect", 301),
        ("KMS.DisabledException", 400),
        ("KMS.Whatever", 400),
        ("JournalUnwritable", 0),
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
    assert judge("AccessDenied", 200) is Verdict.HOLD


def test_every_verdict_has_a_row_here() -> None:
    assert set(ROWS) == set(Verdict)


@pytest.mark.parametrize("code", [code for code, _ in ROWS[Verdict.PARK]])
def test_whatever_parks_a_shipment_says_how_to_mend_it(code: str) -> None:
    assert hint_for(code)


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
    assert hint_for("InternalError") == ""


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

"""What the metadata service's answers mean: documents, refusals, and what an operator can do.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshoot-iam.html
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from shipper.core.types import Instance, RoleCredentials
from shipper.ports import PortError

SECRET = re.compile("[!-~]+")
"""What a key, a secret or a token is made of: it is put into headers as it is."""
SECRETS = ("SecretAccessKey", "Token")
"""Members of the role document."""
ABSENT_CODES = frozenset({"NoProfile", "ProfileDeleted", "NoRole"})
"""What an operator sees who replaces a role or profile, for a moment."""
_TRUST = "AssumeRoleUnauthorizedAccess"
_ROLE = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_+=,.@-]{1,128}")
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_REGION = re.compile("(?![0-9]+$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
"""A label of a host's name. With another text no client can be made, and the daemon would end."""
_LONGEST_MESSAGE = 600
_REPEATED = frozenset({"Unreachable", "HopLimit", "BadAnswer"})


def credentials_from(
    document: Mapping[str, Any],
    role: str,
    *,
    skew_seconds: float,
    redact: Callable[[str], str],
) -> RoleCredentials:
    """The role document as credentials.

    Raises:
        PortError: ``RoleUnusable``, ``NotIssued``; ``BadAnswer`` when a member is missing, or
            holds what no header can.
    """
    code = _said(document, "Code") or "Success"
    if code != "Success":
        detail = redact(f"{code}: {_said(document, 'Message')}".rstrip(": "))
        if code == _TRUST:
            raise PortError("RoleUnusable", detail, hint_trust(role))
        raise PortError("NotIssued", detail, _HINT_NOT_ISSUED)
    if all(document.get(name) == "" for name in ("AccessKeyId", *SECRETS)):
        raise PortError("NotIssued", "the service hands out empty keys", _HINT_EMPTY)
    return RoleCredentials(
        access_key_id=_secret(document, "AccessKeyId"),
        secret_access_key=_secret(document, "SecretAccessKey"),
        session_token=_secret(document, "Token"),
        expires_at=_expiry(document),
        role=role,
        account_id=redact(_named(document, "AccountId")),
        issued_at=_instant(document.get("LastUpdated")) or 0.0,
        skew_seconds=skew_seconds,
    )


def first_role(listing: str) -> str:
    """The first name in a list of roles; "" where there is none.

    Raises:
        PortError: ``BadAnswer``; it is none that IAM gives.
    """
    role = next((line.strip() for line in listing.splitlines() if line.strip()), "")
    if role and not _ROLE.fullmatch(role):
        raise PortError("BadAnswer", "the list of roles names none", HINT_ENDPOINT)
    return role


def instance_from(document: Mapping[str, Any] | None) -> Instance:
    """The identity document as an instance; all but the id may be missing.

    Raises:
        PortError: ``BadAnswer``; a member is missing, or would not do in a key or a host's name.
    """
    instance_id = _named(document or {}, "instanceId")
    if document is None or not instance_id:
        raise PortError("BadAnswer", "no identity document", HINT_ENDPOINT)
    return Instance(
        instance_id=instance_id,
        account_id=_named(document, "accountId"),
        region=_named(document, "region", _REGION),
        availability_zone=_named(document, "availabilityZone"),
    )


def why_no_role(info: Mapping[str, Any] | None) -> PortError:
    """What ``iam/info`` says (None: 404) about a role list that is empty or absent."""
    if info is None:
        return PortError("NoProfile", "the instance has no instance profile", _HINT_ASSOCIATE)
    code = _said(info, "Code") or "Success"
    message = _said(info, "Message")
    if code == "InstanceProfileNotFound":
        return PortError("ProfileDeleted", message or code, _HINT_REPLACE)
    name = _said(info, "InstanceProfileArn").rpartition("/")[2]
    name = name if _ROLE.fullmatch(name) else "PROFILE"  # it is part of a command
    hint = (
        f"`aws iam add-role-to-instance-profile --instance-profile-name {name} --role-name ROLE`"
    )
    return PortError("NoRole", message or "the instance profile has no role", hint)


def unknown_role(role: str, *, is_configured: bool) -> PortError:
    """A role's name that the service answers with 404."""
    hint = "correct credentials.instance_profile_name" if is_configured else _HINT_ASSOCIATE
    return PortError("NoRole", f"the service knows no role {role!r}", hint)


def refused(what: str, status: int) -> PortError:
    """A status that is neither an answer nor a failure of the service."""
    detail = f"{what}: HTTP {status}"
    if status == 403:
        return PortError("MetadataDisabled", detail, _HINT_DISABLED, status=status)
    if what.startswith("PUT") and status in (404, 405):
        return PortError("NotImdsV2", detail, HINT_ENDPOINT, status=status)
    return PortError("BadAnswer", detail, HINT_ENDPOINT, status=status)


def is_worth_repeating(error: PortError) -> bool:
    """Whether asking again may help: not after what the service says on purpose (3xx, 4xx)."""
    is_refusal = 0 < error.status < 500 and error.status != 429
    return error.code in _REPEATED and not is_refusal


def _said(document: Mapping[str, Any], name: str) -> str:
    """A member for people: one line of bounded length."""
    text = " ".join(str(document.get(name) or "").split())
    text = text.encode(errors="replace").decode()  # JSON may hold halves of surrogate pairs
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "…"


def _secret(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise PortError("BadAnswer", f"the role document has no {name}", HINT_ENDPOINT)
    if not SECRET.fullmatch(value):
        detail = f"{name} in the role document has letters that no key has"
        raise PortError("BadAnswer", detail, HINT_ENDPOINT)
    return value


def _named(document: Mapping[str, Any], name: str, form: re.Pattern[str] = _NAME) -> str:
    """A member that is a name, or empty."""
    value = str(document.get(name) or "")
    if value and not form.fullmatch(value):
        raise PortError("BadAnswer", f"{name} in the document is no name", HINT_ENDPOINT)
    return value


def _expiry(document: Mapping[str, Any]) -> float:
    at = _instant(document.get("Expiration"))
    if at is None:
        raise PortError("BadAnswer", "Expiration in the role document is no time", HINT_ENDPOINT)
    return at


def _instant(text: object) -> float | None:
    """Seconds since the epoch; None where that is no time."""
    try:
        at = datetime.fromisoformat(text if isinstance(text, str) else "")
        # Without an offset it would be taken for local time.
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


HINT_URL = (
    "AWS_EC2_METADATA_SERVICE_ENDPOINT looks like http://169.254.169.254; the mode is ipv4 or ipv6"
)
HINT_REACH = (
    "is this an EC2 instance with its metadata service enabled? Elsewhere run `shipper mock-imds` "
    "and set AWS_EC2_METADATA_SERVICE_ENDPOINT"
)
HINT_HOPS = (
    "the hop limit is too low for a container: `aws ec2 modify-instance-metadata-options "
    "--instance-id INSTANCE --http-put-response-hop-limit 2`, or run it with the host's network"
)
HINT_ENDPOINT = "does the endpoint belong to an IMDSv2 service?"
_HINT_NOT_ISSUED = "the metadata service says this itself; it is asked again"
_HINT_EMPTY = (
    "whoever serves them has got none itself, and its log says why: `aws_signing_helper serve` "
    "answers so while its certificate, trust anchor, profile or role is refused"
)
_HINT_DISABLED = (
    "`aws ec2 modify-instance-metadata-options --instance-id INSTANCE --http-endpoint enabled`"
)
_HINT_ASSOCIATE = (
    "`aws ec2 associate-iam-instance-profile --instance-id INSTANCE "
    "--iam-instance-profile Name=PROFILE`; no reboot is needed"
)
_HINT_REPLACE = (
    "`aws ec2 replace-iam-instance-profile-association --association-id ASSOCIATION "
    "--iam-instance-profile Name=PROFILE` (`aws ec2 describe-iam-instance-profile-associations` "
    "shows the association); no reboot is needed"
)


def hint_trust(role: str) -> str:
    """How to let EC2 assume the role."""
    return (
        "the role's trust policy must let ec2.amazonaws.com assume it: "
        f"`aws iam update-assume-role-policy --role-name {role} "
        "--policy-document file://trust.json`; `shipper iam trust` prints trust.json"
    )

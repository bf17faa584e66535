"""What the metadata service's answers mean: documents, refusals, and what an operator can do.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshoot-iam.html
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from shipper.core.types import RoleCredentials
from shipper.ports import PortError

_REPEATED = frozenset({"Unreachable", "HopLimit", "BadAnswer"})


def credentials_from(
    document: Mapping[str, Any], role: str, *, skew_seconds: float
) -> RoleCredentials:
    """The role document as credentials.

    Raises:
        PortError: ``RoleUnusable``; ``BadAnswer`` when a member is missing.
    """
    code = str(document.get("Code") or "Success")
    if code != "Success":
        detail = f"{code}: {document.get('Message') or ''}".rstrip(": ")
        raise PortError("RoleUnusable", detail, hint_trust(role))
    updated = document.get("LastUpdated")
    return RoleCredentials(
        access_key_id=_member(document, "AccessKeyId"),
        secret_access_key=_member(document, "SecretAccessKey"),
        session_token=_member(document, "Token"),
        expires_at=_instant("Expiration", _member(document, "Expiration")),
        role=role,
        account_id=str(document.get("AccountId") or ""),
        issued_at=_instant("LastUpdated", updated) if isinstance(updated, str) else 0.0,
        skew_seconds=skew_seconds,
    )


def why_no_role(info: Mapping[str, Any] | None) -> PortError:
    """What ``iam/info`` says (None: 404) about a role list that is empty or absent."""
    if info is None:
        return PortError("NoProfile", "the instance has no instance profile", _HINT_ASSOCIATE)
    code = str(info.get("Code") or "Success")
    message = str(info.get("Message") or "")
    if code == "InstanceProfileNotFound":
        return PortError("ProfileDeleted", message or code, _HINT_REPLACE)
    name = str(info.get("InstanceProfileArn") or "").rpartition("/")[2] or "PROFILE"
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


def _member(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise PortError("BadAnswer", f"the role document has no {name}", HINT_ENDPOINT)
    return value


def _instant(name: str, text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise PortError("BadAnswer", f"{name} {text!r} is no time", HINT_ENDPOINT) from error
    # Without an offset it would be taken for local time.
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


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

"""What the mocked instance is, and the documents that say so.

The states of an instance profile, as an instance sees them, are AWS's own:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshoot-iam.html

    profile        iam/info                       role list   role document
    attached       Success                        name        Success
    detached       404                            404         404
    no-role        Message: contains no role      404         404
    deleted        InstanceProfileNotFound        404         404
    trust-broken   Success                        name        AssumeRoleUnauthorizedAccess
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, assert_never
from urllib.parse import unquote

LEGACY = "/latest/meta-data/iam/security-credentials/"
EXTENDED = "/latest/meta-data/iam/security-credentials-extended/"
CONTAINER = "/v2/credentials/mock"
TASK = "/v4/mock/task"

_META = "/latest/meta-data/"
_IMAGE_ID = "ami-0123456789abcdef0"
_INSTANCE_TYPE = "t3.micro"
_PRIVATE_IP = "10.0.0.10"
_NOT_FOUND = 404, "Not Found"
_DOCUMENTATION = (
    "Please see documentation at "
    "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshoot-iam.html"
)

Document = dict[str, Any]
Reply = tuple[int, str]
"""Status and body."""
Profile = Literal["attached", "detached", "no-role", "deleted", "trust-broken"]
SpotAction = Literal["", "terminate", "stop", "hibernate"]


@dataclass(frozen=True, slots=True)
class Keys:
    """What the service hands out for its role."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)


@dataclass(slots=True)
class Facts:
    """What the mocked instance is. Change a field, and the next answer shows it."""

    role: str = "shipper"
    """Empty: as ``profile`` detached."""
    instance_id: str = "i-0123456789abcdef0"
    account_id: str = "123456789012"
    region: str = "eu-central-1"
    availability_zone: str = ""
    """Empty: the region's first."""
    lifetime_seconds: float = 21600.0
    keys: Keys | None = None
    tags: dict[str, str] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)
    """More answers by path, before all others."""
    has_extended: bool = True
    role_document: Document | None = None
    """Replaces the role document as it is."""
    profile: Profile = "attached"
    profile_name: str = ""
    """Empty: the role's."""
    role_list: str | None = None
    """Replaces the list of roles as it is; the document answers to ``role`` alone."""
    document_members: Document = field(default_factory=dict)
    """Laid over the role document."""
    document_without: list[str] = field(default_factory=list)
    """Members that the role document lacks."""
    renew_before_seconds: float = 0.0
    """New credentials once less life than this is left; 0: half of it."""
    is_renewed: bool = True
    """False: the same document for ever, also when it has expired."""
    is_expired: bool = False
    """The document is handed out although it expired a minute before it was made."""
    clock_offset_seconds: float = 0.0
    """How far the service's clock (expiry, Date) is ahead of the machine's."""
    authorization: str = ""
    """What a request for container credentials must bear; empty: anything."""
    life_cycle: str = "spot"
    """``instance-life-cycle``; empty: 404."""
    spot: SpotAction = ""
    spot_at: float = 0.0
    """When it will happen: seconds since the epoch."""
    is_rebalance_recommended: bool = False
    rebalance_at: float = 0.0
    lifecycle_state: str = ""
    """Of the Auto Scaling group: InService, Terminated...; empty: 404, as before the first."""


@dataclass(frozen=True, slots=True)
class Issued:
    """Keys of a role; times are seconds since the epoch."""

    keys: Keys
    role: str
    issued_at: float
    expires_at: float


def answer(facts: Facts, path: str, now: float, issued: Callable[[], Issued]) -> Reply:
    """The answer under a path. ``issued`` is called where the role's keys are in it."""
    if path in facts.extra:
        return 200, facts.extra[path]
    for base in (EXTENDED, LEGACY):
        if path.startswith(base) and (base == LEGACY or facts.has_extended):
            role = unquote(path.removeprefix(base))
            if not role:
                return _listing(facts)
            if not _has_role(facts) or role != facts.role:
                return _NOT_FOUND
            document = _refusal(facts, now)
            if document is None:
                document = _role_document(facts, issued(), is_extended=base == EXTENDED)
            return 200, json.dumps(document)
    return _text_at(facts, path, now)


def container_answer(facts: Facts, path: str, issued: Callable[[], Issued]) -> Reply:
    """The answer of a container's endpoints: credentials, and the task's metadata."""
    if path in facts.extra:
        return 200, facts.extra[path]
    if path == TASK:
        return 200, json.dumps(_task(facts))
    if path != CONTAINER:
        return _NOT_FOUND
    if not _has_role(facts) or facts.profile == "trust-broken":
        words = {"code": "InvalidIdInRequest", "message": "CredentialsV2Request: ID not found"}
        return 400, json.dumps(words)
    if facts.role_document is not None:
        return 200, json.dumps(facts.role_document)
    document = _role_document(facts, issued(), is_extended=True)
    members = {"RoleArn": f"arn:aws:iam::{facts.account_id}:role/{facts.role}"} | {
        name: value
        for name, value in document.items()
        if name not in ("Code", "LastUpdated", "Type")
    }
    return 200, json.dumps(members)


def _task(facts: Facts) -> Document:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-examples.html"""
    cluster = f"arn:aws:ecs:{facts.region}:{facts.account_id}"
    return {
        "Cluster": f"{cluster}:cluster/mock",
        "TaskARN": f"{cluster}:task/mock/{facts.instance_id}",
        "Family": "mock",
        "Revision": "1",
        "AvailabilityZone": facts.availability_zone or f"{facts.region}a",
        "LaunchType": "FARGATE",
        "Containers": [],
    }


def _text_at(facts: Facts, path: str, now: float) -> Reply:
    leaves = _leaves(facts, now)
    name = unquote(path)
    if name in leaves:
        return 200, leaves[name]
    children = _children(leaves, name.rstrip("/") + "/")
    return (200, "\n".join(children)) if children else _NOT_FOUND


def _listing(facts: Facts) -> Reply:
    if facts.role_list is not None:
        return 200, facts.role_list
    return (200, facts.role) if _has_role(facts) else _NOT_FOUND


def _refusal(facts: Facts, now: float) -> Document | None:
    """What is answered instead of the role document; None for that itself."""
    if facts.role_document is not None or facts.profile != "trust-broken":
        return facts.role_document
    return {
        "Code": "AssumeRoleUnauthorizedAccess",
        "Message": f"EC2 cannot assume the role {facts.role}. {_DOCUMENTATION}",
        "LastUpdated": iso(now),
    }


def _role_document(facts: Facts, issued: Issued, *, is_extended: bool) -> Document:
    back = issued.expires_at - issued.issued_at + 60.0 if facts.is_expired else 0.0
    document: Document = {
        "Code": "Success",
        "LastUpdated": iso(issued.issued_at - back),
        "Type": "AWS-HMAC",
        "AccessKeyId": issued.keys.access_key_id,
        "SecretAccessKey": issued.keys.secret_access_key,
        "Token": issued.keys.session_token,
        "Expiration": iso(issued.expires_at - back),
    }
    if is_extended:
        document["AccountId"] = facts.account_id
    document |= facts.document_members
    return {name: value for name, value in document.items() if name not in facts.document_without}


def iso(at: float) -> str:
    """A time as the service writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1e6):06}Z"


def _whole_seconds(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _has_role(facts: Facts) -> bool:
    """Whether the list of roles names one."""
    return bool(facts.role) and facts.profile in ("attached", "trust-broken")


def _iam(facts: Facts, now: float) -> dict[str, str]:
    info = _iam_info(facts, now) if facts.role else None
    found = {} if info is None else {"iam/info": json.dumps(info)}
    if _has_role(facts):
        found["iam/security-credentials/" + facts.role] = ""  # for the listing of its directory
    return found


def _iam_info(facts: Facts, now: float) -> Document | None:
    name = facts.profile_name or facts.role
    arn = f"arn:aws:iam::{facts.account_id}:instance-profile/{name}"
    found = {"LastUpdated": iso(now), "InstanceProfileArn": arn}
    match facts.profile:
        case "attached" | "trust-broken":
            return {"Code": "Success", **found, "InstanceProfileId": "AIPA0123456789ABCDEFG"}
        case "no-role":
            message = f"Instance Profile {arn} does not contain a role. {_DOCUMENTATION}"
            return {"Code": "Success", "Message": message, **found}
        case "deleted":
            message = f"Instance Profile {arn} cannot be found. {_DOCUMENTATION}"
            return {"Code": "InstanceProfileNotFound", "Message": message, **found}
        case "detached":
            return None
        case other:
            assert_never(other)


def _leaves(facts: Facts, now: float) -> dict[str, str]:
    """Every path that has a text now."""
    zone = facts.availability_zone or f"{facts.region}a"
    identity = {
        "accountId": facts.account_id,
        "architecture": "x86_64",
        "availabilityZone": zone,
        "imageId": _IMAGE_ID,
        "instanceId": facts.instance_id,
        "instanceType": _INSTANCE_TYPE,
        "privateIp": _PRIVATE_IP,
        "region": facts.region,
        "version": "2017-09-30",
    }
    host = f"ip-{_PRIVATE_IP.replace('.', '-')}.{facts.region}.compute.internal"
    meta = {
        "ami-id": _IMAGE_ID,
        "events/maintenance/history": "[]",
        "events/maintenance/scheduled": "[]",
        "hostname": host,
        "instance-id": facts.instance_id,
        "instance-type": _INSTANCE_TYPE,
        "local-hostname": host,
        "local-ipv4": _PRIVATE_IP,
        "placement/availability-zone": zone,
        "placement/region": facts.region,
        "services/domain": "amazonaws.com",
        "services/partition": "aws",
        **{f"tags/instance/{name}": value for name, value in facts.tags.items()},
        **({"instance-life-cycle": facts.life_cycle} if facts.life_cycle else {}),
        **_notices(facts),
        **_iam(facts, now),
    }
    return {
        "/latest/dynamic/instance-identity/document": json.dumps(identity),
        **{_META + name: text for name, text in meta.items()},
    }


def _notices(facts: Facts) -> dict[str, str]:
    found = {}
    if facts.spot:
        until = _whole_seconds(facts.spot_at)
        found["spot/instance-action"] = json.dumps({"action": facts.spot, "time": until})
        if facts.spot == "terminate":
            found["spot/termination-time"] = until
    if facts.is_rebalance_recommended:
        notice = {"noticeTime": _whole_seconds(facts.rebalance_at)}
        found["events/recommendations/rebalance"] = json.dumps(notice)
    if facts.lifecycle_state:
        found["autoscaling/target-lifecycle-state"] = facts.lifecycle_state
    return found


def _children(leaves: dict[str, str], directory: str) -> list[str]:
    """What a directory lists: names, those of directories with a slash at their end."""
    below = (path.removeprefix(directory) for path in leaves if path.startswith(directory))
    return sorted({name.partition("/")[0] + "/" * ("/" in name) for name in below})

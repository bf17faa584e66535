"""Lifecycle calls to the Auto Scaling group that waits for this instance.

https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_RecordLifecycleActionHeartbeat.html
https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CompleteLifecycleAction.html
"""

from collections.abc import Callable
from typing import Any

from botocore import xform_name

from shipper.core.types import RoleCredentials
from shipper.edges.http_client.transfer import Limits
from shipper.edges.s3.errors import failures_as_port_errors, require_request_id
from shipper.edges.s3.session import SMALL_ANSWERS, client_for
from shipper.edges.server_time import ServerTime
from shipper.ports import Clock, Metadata, PortError

GROUP_TAG = "meta-data/tags/instance/aws:autoscaling:groupName"
_HINT_GROUP = "set termination.autoscaling_group, or allow tags in instance metadata"
_HINT_ROLE = (
    "the instance's role needs autoscaling:CompleteLifecycleAction and "
    "autoscaling:RecordLifecycleActionHeartbeat; `shipper iam policy` prints them"
)
_HINT_HOOK = "is termination.lifecycle_hook the name of a hook of this group?"


class AutoScalingHook:
    """``ports.LifecycleHook`` of the group that this instance is in; one call at a time."""

    def __init__(
        self,
        *,
        hook: str,
        group: str,
        metadata: Metadata,
        credentials: Callable[[], RoleCredentials],
        clock: Clock,
        endpoint_url: str = "",
        redact: Callable[[str], str] = str,
        limits: Limits = SMALL_ANSWERS,
    ) -> None:
        self._hook = hook
        self._group = group
        self._metadata = metadata
        self._credentials = credentials
        self._limits = limits
        self._endpoint_url = endpoint_url
        self._redact = redact
        self._server_time = ServerTime(clock)
        self._client: Any = None
        self._instance_id = ""

    def extend(self) -> None:
        self._tell("RecordLifecycleActionHeartbeat")

    def complete(self) -> None:
        self._tell("CompleteLifecycleAction", LifecycleActionResult="CONTINUE")

    def _tell(self, operation: str, **more: str) -> None:
        self._know()
        try:
            with failures_as_port_errors(operation, redact=self._redact):
                answer = getattr(self._client, xform_name(operation))(
                    LifecycleHookName=self._hook,
                    AutoScalingGroupName=self._group,
                    InstanceId=self._instance_id,
                    **more,
                )
                require_request_id(operation, answer)  # a portal's page is no answer
        except PortError as error:
            hints = {"AccessDenied": _HINT_ROLE, "ValidationError": _HINT_HOOK}
            hint = hints.get(error.code, error.hint)
            code = "LifecycleUnknown" if error.code == "ValidationError" else error.code
            raise PortError(code, error.detail, hint, status=error.status) from error

    def _know(self) -> None:
        """Which instance this is, where, and in which group."""
        if self._client is not None:
            return
        instance = self._metadata.instance()
        group = self._group or self._metadata.get(GROUP_TAG)
        if not group:
            raise PortError("LifecycleUnknown", "in which group is this instance?", _HINT_GROUP)
        self._group, self._instance_id = group, instance.instance_id
        self._client = client_for(
            "autoscaling",
            self._credentials,
            region=instance.region,
            endpoint_url=self._endpoint_url,
            limits=self._limits,
            server_time=self._server_time,
        )

"""Lifecycle calls to the Auto Scaling group that waits for this instance.

https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_RecordLifecycleActionHeartbeat.html
https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CompleteLifecycleAction.html
"""

from collections.abc import Callable
from typing import Any

from botocore.config import Config

from shipper import __version__
from shipper.core.types import RoleCredentials
from shipper.edges.s3.errors import failures_as_port_errors
from shipper.edges.s3.session import session_with
from shipper.ports import Metadata, PortError

GROUP_TAG = "meta-data/tags/instance/aws:autoscaling:groupName"
TIMEOUT_SECONDS = 5.0
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
        endpoint_url: str = "",
    ) -> None:
        self._hook = hook
        self._group = group
        self._metadata = metadata
        self._credentials = credentials
        self._endpoint_url = endpoint_url
        self._client: Any = None
        self._instance_id = ""

    def extend(self) -> None:
        """Record a heartbeat: the group waits for the hook's whole time again."""
        self._tell("RecordLifecycleActionHeartbeat", "record_lifecycle_action_heartbeat")

    def complete(self) -> None:
        """Let the group go on with what it was about to do."""
        self._tell(
            "CompleteLifecycleAction",
            "complete_lifecycle_action",
            LifecycleActionResult="CONTINUE",
        )

    def _tell(self, operation: str, method: str, **more: str) -> None:
        self._know()
        try:
            with failures_as_port_errors(operation, lambda operation, code: None):
                getattr(self._client, method)(
                    LifecycleHookName=self._hook,
                    AutoScalingGroupName=self._group,
                    InstanceId=self._instance_id,
                    **more,
                )
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
        self._client = session_with(self._credentials).create_client(
            "autoscaling",
            region_name=instance.region,
            endpoint_url=self._endpoint_url or None,
            config=Config(
                retries={"total_max_attempts": 1, "mode": "standard"},
                connect_timeout=TIMEOUT_SECONDS,
                read_timeout=TIMEOUT_SECONDS,
                user_agent_extra=f"shipper/{__version__}",
            ),
        )

"""One AssumeRole hop, for a bucket that another account's role may write.

https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html

A role assumed with a role's credentials lives an hour at most, whatever is asked for. The
regional endpoint is used; ``AWS_ENDPOINT_URL_STS`` names another one, as it does for the SDKs.
"""

from collections.abc import Callable
from typing import Any

from shipper.core.backoff import skew_from
from shipper.core.failures import Verdict, judge
from shipper.core.object_keys import InstanceFacts
from shipper.core.types import RoleCredentials
from shipper.edges.http_client.transfer import Limits
from shipper.edges.imds.answers import SECRET
from shipper.edges.s3.errors import failures_as_port_errors, require_request_id
from shipper.edges.s3.models import lean_loader
from shipper.edges.s3.session import SMALL_ANSWERS, client_for
from shipper.edges.server_time import ServerTime
from shipper.ports import Clock, PortError

_HINT_NOT = "something between here and STS answers in its place: a proxy or a captive portal?"
_REFUSALS = frozenset({"AccessDenied", "AccessDeniedException", "ValidationError"})


class AssumedRole:
    """``ports.CredentialSource``: the credentials of ``role_arn``, assumed anew at every call.

    ``base`` gives the instance's own credentials; region and session name come from ``facts``.
    ``refused`` is called when STS does not take the base credentials. One call at a time.
    """

    def __init__(
        self,
        *,
        role_arn: str,
        external_id: str,
        facts: Callable[[], InstanceFacts | None],
        base: Callable[[], RoleCredentials],
        refused: Callable[[], None],
        clock: Clock,
        endpoint_url: str = "",
        redact: Callable[[str], str] = str,
        limits: Limits = SMALL_ANSWERS,
    ) -> None:
        self._role_arn = role_arn
        self._request: dict[str, Any] = {"RoleArn": role_arn, "DurationSeconds": 3600}
        if external_id:
            self._request["ExternalId"] = external_id
        self._facts = facts
        self._base = base
        self._refused = refused
        self._clock = clock
        self._endpoint_url = endpoint_url
        self._redact = redact
        self._limits = limits
        self._client: Any = None

    def credentials(self) -> RoleCredentials:
        """Assume the role.

        Raises:
            PortError: ``AssumeRoleDenied``, or what went wrong on the way there.
        """
        self._base()
        facts = self._facts()
        if facts is None:
            raise PortError("Unreachable", "the instance is not identified yet")
        try:
            with failures_as_port_errors("AssumeRole", redact=self._redact):
                if self._client is None:
                    self._client = client_for(
                        "sts",
                        self._base,
                        region=facts.region,
                        endpoint_url=self._endpoint_url,
                        models=lean_loader("sts", frozenset({"AssumeRole"})),
                        limits=self._limits,
                        server_time=ServerTime(self._clock),
                    )
                answer = self._client.assume_role(
                    **self._request, RoleSessionName=facts.instance_id
                )
                require_request_id("AssumeRole", answer)
                return self._understood(answer)
        except PortError as error:
            raise self._judged(error) from error
        except (LookupError, TypeError, AttributeError):
            # botocore takes a portal's page, or an answer that was cut, for a success.
            # Without a cause, which would hold the answer.
            raise PortError("NotSts", "AssumeRole: the answer is not STS's", _HINT_NOT) from None

    def _understood(self, answer: Any) -> RoleCredentials:
        found, headers = answer["Credentials"], answer["ResponseMetadata"]["HTTPHeaders"]
        now = self._clock.now()
        texts = [found[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")]
        if not all(isinstance(text, str) and SECRET.fullmatch(text) for text in texts):
            raise TypeError("a member is empty, or holds what no header can")
        return RoleCredentials(
            access_key_id=texts[0],
            secret_access_key=texts[1],
            session_token=texts[2],
            expires_at=found["Expiration"].timestamp(),
            role=self._role_arn,
            account_id=self._role_arn.split(":")[4],
            issued_at=now,
            skew_seconds=skew_from(headers.get("date", ""), now),
        )

    def _judged(self, error: PortError) -> PortError:
        is_refusal = error.code in _REFUSALS
        if is_refusal or judge(error.code, error.status) is Verdict.AWAIT_CREDENTIALS:
            self._refused()  # the instance's role may have been replaced
        if not is_refusal:
            return error
        return PortError(
            "AssumeRoleDenied",
            error.detail,
            f"the instance's role needs sts:AssumeRole on {self._role_arn}, and the trust policy "
            "of that role must name the instance's role (and the external_id, if it asks for one)",
            status=error.status,
        )

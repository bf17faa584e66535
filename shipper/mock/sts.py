"""Real, expiring keys from an STS endpoint, for S3 servers that check them."""

from typing import Any

from shipper.core.types import RoleCredentials
from shipper.edges.s3.errors import failures_as_port_errors
from shipper.edges.s3.session import client_for
from shipper.mock.facts import Facts, Issued, Keys
from shipper.mock.issuing import made_up

ANYBODY = Keys("testing", "testing", "")
"""Local STS servers take any keys."""


class StsSource:
    """``issuing.Source``: AssumeRole of the role in the facts. ``base`` signs the requests.

    It asks for the life in the facts; the expiry that the endpoint answers counts.
    """

    def __init__(self, endpoint_url: str, base: Keys = ANYBODY) -> None:
        self._endpoint_url = endpoint_url
        self._base = RoleCredentials(
            access_key_id=base.access_key_id,
            secret_access_key=base.secret_access_key,
            session_token=base.session_token,
            expires_at=float("inf"),
        )
        self._clients: dict[str, Any] = {}

    def __call__(self, facts: Facts, now: float) -> Issued:
        if facts.keys is not None:
            return made_up(facts, now)
        with failures_as_port_errors("AssumeRole"):
            answer = self._client(facts.region).assume_role(
                RoleArn=f"arn:aws:iam::{facts.account_id}:role/{facts.role}",
                RoleSessionName=facts.instance_id,
                DurationSeconds=round(facts.lifetime_seconds),
            )
        found = answer["Credentials"]
        keys = Keys(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])
        return Issued(keys, facts.role, now, found["Expiration"].timestamp())

    def _client(self, region: str) -> Any:
        # One thread at a time renews, so no lock is needed.
        if region not in self._clients:
            self._clients[region] = client_for(
                "sts",
                lambda: self._base,
                region=region,
                endpoint_url=self._endpoint_url,
                parameter_validation=False,  # botocore's refuses a life below 15 min
                is_direct=True,
            )
        return self._clients[region]

"""Builds what is reached over the network: metadata service, credentials, bucket.

Commands use these parts without the services around them.
"""

import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from shipper.config.load import Configuration
from shipper.core.object_keys import InstanceFacts, tags_in
from shipper.core.types import ChecksumAlgorithm, Destination, RoleCredentials
from shipper.edges.clock import SystemClock
from shipper.edges.encoder import has_crc64nvme
from shipper.edges.imds.client import ImdsMetadata, endpoint_from
from shipper.ports import Clock, CredentialSource, PortError
from shipper.runtime.loops import Nudges
from shipper.services.credentials import CredentialKeeper
from shipper.services.instance import InstanceLookup

if TYPE_CHECKING:
    from shipper.edges.s3.store import S3Store

METADATA = "the metadata service"


@dataclass(frozen=True, slots=True)
class Identity:
    """Which instance this is, and what it may."""

    metadata: ImdsMetadata
    instance_lookup: InstanceLookup
    keepers: tuple[CredentialKeeper, ...]
    """The instance's own credentials first, those that sign for S3 last."""


def identity_for(
    configuration: Configuration,
    environment: Mapping[str, str],
    log: Any,
    *,
    clock: Clock | None = None,
    wait: Callable[[float], bool] | None = None,
    adopt: Callable[[InstanceFacts], None] = lambda facts: None,
    learn: Callable[[str], None] = lambda secret: None,
    nudges: Nudges | None = None,
) -> Identity:
    """The metadata service, and who asks it. Nothing is asked yet.

    Raises:
        PortError: ``BadEndpoint``, ``BadProfileName``.
    """
    clock, heard = clock or SystemClock(), nudges or Nudges()
    metadata = metadata_for(configuration, environment, clock, wait or threading.Event().wait)
    destination = configuration.destination
    instance_lookup = InstanceLookup(
        metadata=metadata,
        prefix=destination.prefix,
        region=destination.region,
        hostname=socket.gethostname(),
        tags=tags_in(destination.key),
        adopt=adopt,
        known=lambda facts: heard.known(facts),  # noqa: PLW0108  (set later)
        rng=Random(),
        log=log,
    )
    keepers: list[CredentialKeeper] = []

    def keep(source: CredentialSource, name: str, changed: Callable[[], None]) -> CredentialKeeper:
        keeper = CredentialKeeper(
            source=source,
            name=name,
            clock=clock,
            rng=Random(),
            log=log,
            nudge=lambda: heard.credentials(),  # noqa: PLW0108  (set later)
            refreshed=changed,
            learn=learn,
        )
        keepers.append(keeper)
        return keeper

    def refreshed() -> None:
        heard.refreshed()

    if not destination.role_arn:
        keep(metadata, METADATA, refreshed)
        return Identity(metadata, instance_lookup, tuple(keepers))
    from shipper.edges.sts import AssumedRole  # and botocore, where it is needed

    own = keep(metadata, METADATA, lambda: keepers[-1].make_due())  # noqa: PLW0108  (made later)
    assumed = AssumedRole(
        role_arn=destination.role_arn,
        external_id=destination.external_id,
        facts=lambda: instance_lookup.facts,
        base=own.current,
        refused=own.refresh_now,
        clock=clock,
        endpoint_url=environment.get("AWS_ENDPOINT_URL_STS", ""),
    )
    keep(assumed, f"STS, for {destination.role_arn}", refreshed)
    return Identity(metadata, instance_lookup, tuple(keepers))


def metadata_for(
    configuration: Configuration,
    environment: Mapping[str, str],
    clock: Clock,
    wait: Callable[[float], bool],
) -> ImdsMetadata:
    """The metadata service that configuration and environment name; raises as ``identity_for``."""
    settings = configuration.credentials
    name = environment.get("AWS_EC2_INSTANCE_PROFILE_NAME")
    if name is not None and not name.strip() and not settings.instance_profile_name:
        raise PortError(
            "BadProfileName",
            "AWS_EC2_INSTANCE_PROFILE_NAME is empty",
            "unset it, or give it the role's name",
        )
    return ImdsMetadata(
        endpoint_from(settings.metadata_endpoint, settings.metadata_endpoint_mode, environment),
        clock,
        profile_name=settings.instance_profile_name or (name or "").strip(),
        disabled=environment.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true",
        wait=wait,
    )


def store_for(
    configuration: Configuration,
    region: str,
    credentials: Callable[[], RoleCredentials],
    *,
    connections: int = 1,
    count: Callable[[str, str], None] = lambda operation, code: None,
    throttle: Callable[[int], None] = lambda size_bytes: None,
) -> "S3Store":
    """The bucket, in that region.

    Raises:
        PortError: ``BadDestination``.
    """
    from shipper.edges.s3.store import S3Store  # botocore is half of what a start would load

    return S3Store(
        destination=configuration.destination,
        region=region,
        credentials=credentials,
        algorithm=checksum_algorithm(configuration.destination),
        max_connections=connections,
        count=count,
        is_direct=configuration.uploads.direct_writes,
        throttle=throttle,
    )


def checksum_algorithm(destination: Destination) -> ChecksumAlgorithm:
    """The configured checksum, or CRC-32 where CRC-64/NVME would need a library that is absent."""
    wanted = destination.checksum
    if wanted is ChecksumAlgorithm.CRC64NVME and not has_crc64nvme():
        return ChecksumAlgorithm.CRC32
    return wanted


def require_usable(
    configuration: Configuration, environment: Mapping[str, str], region: str
) -> None:
    """Whether the clients of this configuration can be made. Nothing is asked.

    Raises:
        PortError: ``BadEndpoint``, ``BadProfileName``, ``BadDestination``.
    """
    identity = identity_for(configuration, environment, None)
    store_for(configuration, region, identity.keepers[-1].current).close()

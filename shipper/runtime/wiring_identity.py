"""Builds who this instance is and what it may: metadata service, site, keepers of credentials.

The part of ``wiring`` that commands need without a house around it.
"""

import socket
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from shipper.config.load import Configuration
from shipper.core.object_keys import InstanceFacts, tags_in
from shipper.edges.clock import SystemClock
from shipper.edges.imds.client import ImdsMetadata, endpoint_from
from shipper.ports import CredentialSource, PortError
from shipper.services.credentials import CredentialKeeper
from shipper.services.instance import InstanceLookup

METADATA = "the metadata service"


def metadata_for(
    configuration: Configuration,
    environment: Mapping[str, str],
    clock: SystemClock,
    wait: Callable[[float], bool],
) -> ImdsMetadata:
    """The metadata service that configuration and environment name.

    Raises:
        PortError: ``BadEndpoint``, ``BadProfileName``.
    """
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


def instance_lookup_for(
    configuration: Configuration,
    metadata: ImdsMetadata,
    log: Any,
    *,
    adopt: Callable[[InstanceFacts], None] = lambda facts: None,
    known: Callable[[InstanceFacts], None] = lambda facts: None,
) -> InstanceLookup:
    """The question which instance this is."""
    destination = configuration.destination
    return InstanceLookup(
        metadata=metadata,
        prefix=destination.prefix,
        region=destination.region,
        hostname=socket.gethostname(),
        tags=tags_in(destination.key),
        adopt=adopt,
        known=known,
        rng=Random(),
        log=log,
    )


def keepers_for(
    configuration: Configuration,
    environment: Mapping[str, str],
    metadata: ImdsMetadata,
    instance_lookup: InstanceLookup,
    log: Any,
    *,
    nudge: Callable[[], None] = lambda: None,
    refreshed: Callable[[], None] = lambda: None,
    learn: Callable[[str], None] = lambda secret: None,
) -> tuple[CredentialKeeper, ...]:
    """The keeper of the instance's credentials and, where a role is assumed, that role's."""
    clock, destination = SystemClock(), configuration.destination
    keepers: list[CredentialKeeper] = []

    def keep(source: CredentialSource, name: str, changed: Callable[[], None]) -> CredentialKeeper:
        keeper = CredentialKeeper(
            source=source,
            name=name,
            clock=clock,
            rng=Random(),
            log=log,
            nudge=nudge,
            refreshed=changed,
            learn=learn,
        )
        keepers.append(keeper)
        return keeper

    if not destination.role_arn:
        keep(metadata, METADATA, refreshed)
        return tuple(keepers)
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
    return tuple(keepers)

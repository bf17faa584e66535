"""Builds who this instance is: the metadata service, its credentials and the instance's facts."""

import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from random import Random
from typing import Any
from urllib.parse import urlsplit

from shipper.config.load import Configuration
from shipper.core.object_keys import InstanceFacts, tags_in
from shipper.edges.clock import SystemClock
from shipper.edges.imds.client import ImdsMetadata, endpoint_from
from shipper.ports import Clock, CredentialSource, PortError
from shipper.runtime.loops import Nudges
from shipper.services.credentials import CredentialKeeper
from shipper.services.instance import InstanceLookup

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
        PortError: ``BadEndpoint``.
    """
    clock, heard = clock or SystemClock(), nudges or Nudges()
    metadata = metadata_for(configuration, environment, clock, wait or threading.Event().wait)
    role_arn = configuration.destination.role_arn
    instance_lookup = _instance_lookup(configuration, metadata, heard, adopt, log)
    keeper = partial(
        CredentialKeeper,
        clock=clock,
        rng=Random(),
        log=log,
        nudge=lambda: heard.credentials(),  # noqa: PLW0108  (set later)
        learn=learn,
    )
    last = partial(keeper, refreshed=lambda: heard.refreshed())  # noqa: PLW0108  (set later)
    if not role_arn:
        return Identity(metadata, instance_lookup, (last(source=metadata, name=METADATA),))
    own = keeper(source=metadata, name=METADATA, refreshed=lambda: assumed.make_due())  # noqa: PLW0108
    source = _assumed_role(configuration, environment, instance_lookup, own, clock)
    assumed: CredentialKeeper = last(source=source, name=f"STS, for {role_arn}")
    return Identity(metadata, instance_lookup, (own, assumed))


def _instance_lookup(
    configuration: Configuration,
    metadata: ImdsMetadata,
    nudges: Nudges,
    adopt: Callable[[InstanceFacts], None],
    log: Any,
) -> InstanceLookup:
    destination = configuration.destination
    return InstanceLookup(
        metadata=metadata,
        prefix=destination.prefix,
        region=destination.region,
        hostname=socket.gethostname(),
        tags=tags_in(destination.key),
        adopt=adopt,
        known=lambda facts: nudges.known(facts),  # noqa: PLW0108  (set later)
        rng=Random(),
        log=log,
    )


def _assumed_role(
    configuration: Configuration,
    environment: Mapping[str, str],
    instance_lookup: InstanceLookup,
    own: CredentialKeeper,
    clock: Clock,
) -> CredentialSource:
    from shipper.edges.sts import AssumedRole  # and botocore, where it is needed

    return AssumedRole(
        role_arn=configuration.destination.role_arn,
        external_id=configuration.destination.external_id,
        facts=lambda: instance_lookup.facts,
        base=own.current,
        refused=own.refresh_now,
        clock=clock,
        endpoint_url=environment.get("AWS_ENDPOINT_URL_STS", ""),
    )


def metadata_for(
    configuration: Configuration,
    environment: Mapping[str, str],
    clock: Clock,
    wait: Callable[[float], bool],
) -> ImdsMetadata:
    """The metadata service that configuration and environment name; raises as ``identity_for``."""
    settings = configuration.credentials
    name = environment.get("AWS_EC2_INSTANCE_PROFILE_NAME", "").strip()
    return ImdsMetadata(
        endpoint_from(settings.metadata_endpoint, settings.metadata_endpoint_mode, environment),
        clock,
        profile_name=settings.instance_profile_name or name,
        disabled=environment.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true",
        wait=wait,
    )


def unencrypted(endpoint_url: str) -> PortError | None:
    """What is wrong with an endpoint to which the session token goes for anybody to read."""
    parts = urlsplit(endpoint_url)
    host = parts.hostname or ""
    with suppress(ValueError):
        host = "localhost" if ip_address(host).is_loopback else host
    if parts.scheme.lower() != "http" or host == "localhost":
        return None
    detail = f"{endpoint_url}: the session token and the logs go there for anybody to read"
    return PortError("Unencrypted", detail, "https, or a server on this machine")

"""Builds who this instance is: the metadata service, its credentials and the instance's facts."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from random import Random
from typing import Any
from urllib.parse import urlsplit

from shipper.config.load import Configuration
from shipper.core.destinations import Destination, table_of
from shipper.core.object_keys import InstanceFacts, destined, tags_in
from shipper.edges.clock import SystemClock
from shipper.edges.http_client.transfer import exchange
from shipper.edges.imds.client import LIMITS, ImdsMetadata, endpoint_from
from shipper.ports import Clock, CredentialSource, PortError
from shipper.runtime.logs import Redactor
from shipper.runtime.loops import Nudges
from shipper.services.credentials import CredentialKeeper
from shipper.services.instance import InstanceLookup

METADATA = "the metadata service"
STS_URL = "AWS_ENDPOINT_URL_STS"
AUTO_SCALING_URL = "AWS_ENDPOINT_URL_AUTO_SCALING"


Hop = tuple[str, str]
"""A role to assume, and its external id."""


def hop_of(destination: Destination) -> Hop:
    return destination.role_arn, destination.external_id


@dataclass(frozen=True, slots=True)
class Identity:
    """Which instance this is, and what it may."""

    metadata: ImdsMetadata
    instance_lookup: InstanceLookup
    own: CredentialKeeper
    """The instance's own credentials."""
    assumed: Mapping[Hop, CredentialKeeper]
    """One for each role that is assumed."""
    redactor: Redactor

    @property
    def keepers(self) -> tuple[CredentialKeeper, ...]:
        """All, the instance's own first."""
        return self.own, *self.assumed.values()

    def keeper_of(self, destination: Destination) -> CredentialKeeper:
        """Who keeps the credentials that sign for it."""
        return self.assumed[hop_of(destination)] if destination.role_arn else self.own


def identity_for(
    configuration: Configuration,
    environment: Mapping[str, str],
    log: Any,
    *,
    clock: Clock | None = None,
    wait: Callable[[float], bool] | None = None,
    adopt: Callable[[InstanceFacts], None] = lambda facts: None,
    redactor: Redactor | None = None,
    nudges: Nudges | None = None,
) -> Identity:
    """The metadata service, and who asks it. Nothing is asked yet.

    Raises:
        PortError: ``BadEndpoint``.
    """
    clock, heard, redactor = clock or SystemClock(), nudges or Nudges(), redactor or Redactor()
    wait = wait or threading.Event().wait
    metadata = metadata_for(configuration, environment, clock, wait, redactor)
    instance_lookup = _instance_lookup(configuration, metadata, heard, adopt, log)
    keeper = partial(
        CredentialKeeper,
        clock=clock,
        rng=Random(),
        log=log,
        nudge=lambda: heard.credentials(),  # noqa: PLW0108  (set later)
        learn=redactor.learn,
    )
    assumed: dict[Hop, CredentialKeeper] = {}
    used = configuration.used_destinations.values()
    signs = not all(one.role_arn for one in used)

    def refreshed() -> None:
        for each in assumed.values():
            each.make_due()
        if signs:
            heard.refreshed()

    own = keeper(source=metadata, name=METADATA, refreshed=refreshed)
    for one in used:
        if one.role_arn and hop_of(one) not in assumed:
            source = _assumed_role(
                one, environment, instance_lookup, own, clock, redactor=redactor
            )
            assumed[hop_of(one)] = keeper(
                source=source,
                name=f"STS, for {one.role_arn}",
                refreshed=lambda: heard.refreshed(),  # noqa: PLW0108  (set later)
            )
    return Identity(metadata, instance_lookup, own, assumed, redactor)


def _instance_lookup(
    configuration: Configuration,
    metadata: ImdsMetadata,
    nudges: Nudges,
    adopt: Callable[[InstanceFacts], None],
    log: Any,
) -> InstanceLookup:
    keys = [configuration.destination_of(watch).key for watch in configuration.watches]
    used = configuration.used_destinations.values()
    return InstanceLookup(
        metadata=metadata,
        prefix=configuration.destination.prefix,
        needs_region=not any(one.region for one in used),
        hostname=socket.gethostname(),
        tags=frozenset().union(*map(tags_in, keys)),
        adopt=adopt,
        known=lambda facts: nudges.known(facts),  # noqa: PLW0108  (set later)
        rng=Random(),
        log=log,
    )


def _assumed_role(
    destination: Destination,
    environment: Mapping[str, str],
    instance_lookup: InstanceLookup,
    own: CredentialKeeper,
    clock: Clock,
    *,
    redactor: Redactor,
) -> CredentialSource:
    from shipper.edges.sts import AssumedRole  # and botocore, where it is needed

    def facts() -> InstanceFacts | None:
        here = instance_lookup.facts
        return None if here is None else destined(here, destination)

    return AssumedRole(
        role_arn=destination.role_arn,
        external_id=destination.external_id,
        facts=facts,
        base=own.current,
        refused=own.refresh_now,
        clock=clock,
        endpoint_url=environment.get(STS_URL, ""),
        redact=redactor.text,
    )


def metadata_for(
    configuration: Configuration,
    environment: Mapping[str, str],
    clock: Clock,
    wait: Callable[[float], bool],
    redactor: Redactor | None = None,
) -> ImdsMetadata:
    """The metadata service that configuration and environment name; raises as ``identity_for``."""
    settings, redactor = configuration.credentials, redactor or Redactor()
    name = environment.get("AWS_EC2_INSTANCE_PROFILE_NAME", "").strip()
    endpoint = endpoint_from(
        settings.metadata_endpoint, settings.metadata_endpoint_mode, environment
    )
    options: Mapping[int, Any] = {}
    if endpoint.startswith("https:"):
        from shipper.edges.http_client.environment import ca_bundle, ca_options  # loads botocore

        options = ca_options(ca_bundle())
    return ImdsMetadata(
        endpoint,
        clock,
        send=partial(exchange, limits=LIMITS, options=options),
        profile_name=settings.instance_profile_name or name,
        disabled=environment.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true",
        wait=wait,
        learn=redactor.learn,
        redact=redactor.text,
    )


def unencrypted(
    configuration: Configuration, environment: Mapping[str, str]
) -> Iterator[tuple[str, PortError]]:
    """The settings by which a session token goes over the network for anybody to read."""
    used, drain = configuration.used_destinations, configuration.termination
    urls = {
        f"{table_of(name)}.endpoint_url": destination.endpoint_url
        for name, destination in used.items()
    }
    if any(destination.role_arn for destination in used.values()):
        urls[STS_URL] = environment.get(STS_URL, "")
    if drain.lifecycle_hook:
        urls[AUTO_SCALING_URL] = environment.get(AUTO_SCALING_URL, "")
    for setting, url in urls.items():
        if _is_plain(url):
            detail = f"{setting} = {url}: the session token goes there for anybody to read"
            hint = "https, or a server on this machine"
            yield setting, PortError("Unencrypted", detail, hint)


def _is_plain(endpoint_url: str) -> bool:
    """Whether it is plain http to another machine."""
    parts = urlsplit(endpoint_url)
    host = parts.hostname or ""
    with suppress(ValueError):
        host = "localhost" if ip_address(host).is_loopback else host
    return parts.scheme.lower() == "http" and host != "localhost"

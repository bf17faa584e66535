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
from shipper.core.object_keys import InstanceFacts, destined
from shipper.core.tag_fields import needed_tags, tags_of, unfit
from shipper.core.types import Instance
from shipper.edges.clock import SystemClock
from shipper.edges.http_client.transfer import Answer, Request, exchange
from shipper.edges.imds.asking import LIMITS
from shipper.edges.imds.client import ImdsMetadata, endpoint_from
from shipper.ports import Clock, CredentialSource, Metadata, PortError
from shipper.runtime.logs import Redactor
from shipper.runtime.loops import Nudges
from shipper.services.credentials import CredentialKeeper
from shipper.services.instance import InstanceLookup

METADATA = "the metadata service"
CONTAINER = "the container credentials endpoint"
_HINT_INSTANCE = (
    "set instance.id and instance.region: with Pod Identity, to what the pod's specification puts "
    "into its environment, such as a StatefulSet's own name, or the node's"
)
STS_URL = "AWS_ENDPOINT_URL_STS"
AUTO_SCALING_URL = "AWS_ENDPOINT_URL_AUTO_SCALING"


Hop = tuple[str, str, str]
"""A role to assume, its external id, and the region whose STS is asked if it is not the
instance's."""


def hop_of(destination: Destination) -> Hop:
    return destination.role_arn, destination.external_id, destination.region


@dataclass(frozen=True, slots=True)
class Identity:
    """Which instance this is, and what it may."""

    metadata: Metadata
    source: str
    """What gives the instance's own credentials: ``METADATA`` or ``CONTAINER``."""
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
        PortError: ``BadEndpoint``, ``InstanceUnknown``.
    """
    clock, heard, redactor = clock or SystemClock(), nudges or Nudges(), redactor or Redactor()
    wait = wait or threading.Event().wait
    metadata = metadata_for(configuration, environment, clock, wait, redactor)
    source = METADATA if isinstance(metadata, ImdsMetadata) else CONTAINER
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

    own = keeper(source=metadata, name=source, refreshed=refreshed)
    for one in used:
        if one.role_arn and hop_of(one) not in assumed:
            role = _assumed_role(one, environment, instance_lookup, own, clock, redactor=redactor)
            assumed[hop_of(one)] = keeper(
                source=role,
                name=f"STS, for {one.role_arn}",
                refreshed=lambda: heard.refreshed(),  # noqa: PLW0108  (set later)
            )
    return Identity(metadata, source, instance_lookup, own, assumed, redactor)


def _instance_lookup(
    configuration: Configuration,
    metadata: Metadata,
    nudges: Nudges,
    adopt: Callable[[InstanceFacts], None],
    log: Any,
) -> InstanceLookup:
    targets = [
        (watch.destination, configuration.destination_of(watch)) for watch in configuration.watches
    ]

    def unfit_of(tags: Mapping[str, str]) -> dict[str, str]:
        whys = dict.fromkeys(configuration.used_destinations, "")
        for name, one in targets:
            whys[name] = whys[name] or unfit(one, tags, table_of(name))
        return whys

    used, given = configuration.used_destinations.values(), configuration.instance
    return InstanceLookup(
        metadata=metadata,
        prefix=configuration.destination.prefix,
        needs_region=not any(one.region for one in used),
        hostname=socket.gethostname(),
        tags=frozenset().union(*(tags_of(one) for _, one in targets)),
        needed=frozenset().union(*(needed_tags(one) for _, one in targets)),
        unfit=unfit_of,
        adopt=adopt,
        known=lambda facts: nudges.known(facts),  # noqa: PLW0108  (set later)
        rng=Random(),
        log=log,
        given=Instance(
            instance_id=given.id,
            account_id=given.account_id,
            region=given.region,
            availability_zone=given.availability_zone,
        ),
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
) -> Metadata:
    """What configuration and environment name; raises as ``identity_for``.

    It is chosen once: falling back from one to another would ship with another role's permissions,
    under another instance's keys, because something did not answer for a moment.
    """
    settings, redactor = configuration.credentials, redactor or Redactor()
    if settings.source != "imds":
        from shipper.edges.imds.container import is_container  # loaded where it may be needed

        if settings.source == "container" or is_container(environment):
            return _container_metadata(configuration, environment, clock, wait, redactor)
    name = environment.get("AWS_EC2_INSTANCE_PROFILE_NAME", "").strip()
    endpoint = endpoint_from(
        settings.metadata_endpoint, settings.metadata_endpoint_mode, environment
    )
    return ImdsMetadata(
        endpoint,
        clock,
        send=_sending_to(endpoint),
        profile_name=settings.instance_profile_name or name,
        disabled=environment.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true",
        wait=wait,
        learn=redactor.learn,
        redact=redactor.text,
    )


def _container_metadata(
    configuration: Configuration,
    environment: Mapping[str, str],
    clock: Clock,
    wait: Callable[[float], bool],
    redactor: Redactor,
) -> Metadata:
    from shipper.edges.imds.container import TASK_URI, ContainerMetadata, place_from

    place = place_from(environment)
    if not configuration.instance.id and not place.task_url:
        detail = f"there is no {TASK_URI} (it is not ECS), and no instance.id"
        raise PortError("InstanceUnknown", detail, _HINT_INSTANCE)
    return ContainerMetadata(
        place,
        clock,
        send=_sending_to(place.credentials_url),
        wait=wait,
        learn=redactor.learn,
        redact=redactor.text,
    )


def _sending_to(url: str) -> Callable[[Request], Answer]:
    options: Mapping[int, Any] = {}
    if url.lower().startswith("https:"):
        from shipper.edges.http_client.environment import ca_bundle, ca_options  # loads botocore

        options = ca_options(ca_bundle())
    return partial(exchange, limits=LIMITS, options=options)


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

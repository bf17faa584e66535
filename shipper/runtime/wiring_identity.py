"""Builds who this instance is: the metadata service, its credentials and the instance's facts."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from random import Random
from typing import Any
from urllib.parse import urlsplit

from shipper.config.load import Configuration
from shipper.core.object_keys import InstanceFacts, tags_in
from shipper.edges.clock import SystemClock
from shipper.edges.imds.client import ImdsMetadata, endpoint_from
from shipper.ports import Clock, CredentialSource, PortError
from shipper.runtime.logs import Redactor
from shipper.runtime.loops import Nudges
from shipper.services.credentials import CredentialKeeper
from shipper.services.instance import InstanceLookup

METADATA = "the metadata service"
STS_URL = "AWS_ENDPOINT_URL_STS"
AUTO_SCALING_URL = "AWS_ENDPOINT_URL_AUTO_SCALING"


@dataclass(frozen=True, slots=True)
class Identity:
    """Which instance this is, and what it may."""

    metadata: ImdsMetadata
    instance_lookup: InstanceLookup
    keepers: tuple[CredentialKeeper, ...]
    """The instance's own credentials first, those that sign for S3 last."""
    redactor: Redactor


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
            learn=redactor.learn,
        )
        keepers.append(keeper)
        return keeper

    def refreshed() -> None:
        heard.refreshed()

    if not destination.role_arn:
        keep(metadata, METADATA, refreshed)
        return Identity(metadata, instance_lookup, tuple(keepers), redactor)
    from shipper.edges.sts import AssumedRole  # and botocore, where it is needed

    own = keep(metadata, METADATA, lambda: keepers[-1].make_due())  # noqa: PLW0108  (made later)
    assumed = AssumedRole(
        role_arn=destination.role_arn,
        external_id=destination.external_id,
        facts=lambda: instance_lookup.facts,
        base=own.current,
        refused=own.refresh_now,
        clock=clock,
        endpoint_url=environment.get(STS_URL, ""),
        redact=redactor.text,
    )
    keep(assumed, f"STS, for {destination.role_arn}", refreshed)
    return Identity(metadata, instance_lookup, tuple(keepers), redactor)


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
    return ImdsMetadata(
        endpoint_from(settings.metadata_endpoint, settings.metadata_endpoint_mode, environment),
        clock,
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
    destination, drain = configuration.destination, configuration.termination
    urls = {"destination.endpoint_url": destination.endpoint_url}
    if destination.role_arn:
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

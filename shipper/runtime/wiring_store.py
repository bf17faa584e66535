"""Builds the client of a bucket."""

from collections.abc import Callable, Container, Mapping
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from shipper.config.load import Configuration
from shipper.core.destinations import Destination
from shipper.core.object_keys import InstanceFacts, destined
from shipper.core.types import (
    ChecksumAlgorithm,
    RoleCredentials,
    WatchName,
)
from shipper.edges.encoder import has_crc64nvme
from shipper.edges.server_time import ServerTime
from shipper.ports import PortError
from shipper.runtime.wiring_identity import identity_for

if TYPE_CHECKING:
    from shipper.edges.s3.store import S3Store


def load_store() -> None:
    """Import what speaks to S3: botocore and libcurl are half of what a start would load."""
    import_module("shipper.edges.s3.store")


def store_for(
    destination: Destination,
    facts: InstanceFacts,
    credentials: Callable[[], RoleCredentials],
    *,
    watches: Mapping[WatchName, Destination],
    connections: int = 1,
    count: Callable[[str, str], None] = lambda operation, code: None,
    redact: Callable[[str], str] = str,
    throttle: Callable[[int], Callable[[], float]] = lambda size_bytes: lambda: 0.0,
    server_time: ServerTime | None = None,
) -> "S3Store":
    """The bucket, in its region, else in the instance's; ``watches`` is as ``S3Store`` has it.

    Raises:
        PortError: ``BadDestination``.
    """
    from shipper.edges.s3.errors import failures_as_port_errors
    from shipper.edges.s3.store import S3Store  # late, as ``load_store`` says

    return S3Store(
        destination=destination,
        watches=watches,
        region=destined(facts, destination).region,
        credentials=credentials,
        algorithm=checksum_algorithm(destination),
        max_connections=connections,
        failures=partial(failures_as_port_errors, count=count, redact=redact),
        throttle=throttle,
        server_time=server_time,
    )


def checksum_algorithm(destination: Destination) -> ChecksumAlgorithm:
    """The configured checksum, or CRC-32 where CRC-64/NVME would need a library that is absent."""
    wanted = destination.checksum
    if wanted is ChecksumAlgorithm.CRC64NVME and not has_crc64nvme():
        return ChecksumAlgorithm.CRC32
    return wanted


def require_usable(
    configuration: Configuration,
    environment: Mapping[str, str],
    facts: InstanceFacts,
    working: Container[str],
) -> None:
    """Whether the clients of this configuration can be made. Nothing is asked.

    As at a start, one destination that can be used is enough; but those of ``working`` stay.

    Raises:
        PortError: ``BadEndpoint``, ``BadDestination``.
    """
    identity, refused = identity_for(configuration, environment, None), list[PortError]()
    for name, one in configuration.used_destinations.items():
        try:
            store_for(one, facts, identity.keeper_of(one).current, watches={}).close()
        except PortError as error:
            if name in working:
                raise
            refused.append(error)
    if len(refused) == len(configuration.used_destinations):
        raise refused[0]

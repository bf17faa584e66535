"""Builds what writes manifests, where ``[manifest]`` asks for it."""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from shipper import __version__
from shipper.config.load import Configuration
from shipper.core.manifests import address_of
from shipper.core.object_keys import InstanceFacts, destined
from shipper.core.termination import Drain
from shipper.core.types import Compression
from shipper.edges.encoder import FrameEncoder
from shipper.journal.journal import Journal
from shipper.ports import ObjectStore, PortError
from shipper.runtime.services import DestinationServices, Ports
from shipper.services.bugs import Bugs

if TYPE_CHECKING:
    from shipper.services.manifests import ManifestWriter

LEVEL = 3
"""Of zstd: a manifest is a tenth of its lines."""


def manifests_for(
    configuration: Configuration,
    *,
    journal: Journal,
    facts: Callable[[], InstanceFacts | None],
    drain: Callable[[], Drain | None],
    ports: Ports,
    bugs: Bugs,
    log: Any,
) -> "ManifestWriter | None":
    """None where no manifests are wanted."""
    interval_seconds = configuration.manifest.interval_seconds
    if not interval_seconds:
        with suppress(PortError):  # a full disk is said elsewhere; what is noted costs little
            journal.manifests.switch_off(ports.clock.now())
        return None
    from shipper.journal.manifests import Wording
    from shipper.services.manifests import ManifestWriter

    encoder = FrameEncoder()

    def instance_id() -> str:
        known = facts()
        assert known is not None, "a destination is added once the instance is known"
        return known.instance_id

    return ManifestWriter(
        journal=journal,
        interval_seconds=interval_seconds,
        instance_id=instance_id,
        wording=Wording(
            version=__version__,
            configuration=configuration.digest,
            interval_seconds=interval_seconds,
            directories={watch.name: watch.directory for watch in configuration.watches},
            frame=lambda raw: encoder.frame(raw, Compression.ZSTD, LEVEL),
        ),
        encoder=encoder,
        drain=drain,
        clock=ports.clock,
        rng=ports.rng,
        bugs=bugs,
        names=configuration.used_destinations.keys(),
        log=log,
    )


def write_manifests_to(
    writer: "ManifestWriter | None",
    one: DestinationServices,
    facts: InstanceFacts,
    store: ObjectStore,
) -> None:
    """Let manifests be written to the destination, too."""
    if writer is None:
        return
    from shipper.services.manifests import Target

    prefix = destined(facts, one.settings).prefix
    writer.add(
        Target(
            name=one.name,
            prefix=prefix,
            address=address_of(one.settings.endpoint_url, one.settings.bucket, prefix),
            journal=one.journal,
            store=store,
            is_shut=lambda: one.gate.reason() is not None,
            refresh_now=one.keeper.refresh_now,
            log=one.log,
        )
    )

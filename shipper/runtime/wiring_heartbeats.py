"""Builds what writes heartbeats, where ``[fleet]`` asks for it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from shipper.config.load import Configuration
from shipper.edges.encoder import FrameEncoder
from shipper.runtime.services import Ports
from shipper.runtime.wiring_identity import Identity

if TYPE_CHECKING:
    from shipper.services.heartbeats import Heartbeats


def heartbeats_for(
    configuration: Configuration,
    identity: Identity,
    *,
    now: Callable[[float], float],
    ports: Ports,
    log: Any,
) -> "Heartbeats | None":
    """None where none are asked for. ``now`` is given how far the clock is behind, where S3 has
    not said so yet."""
    interval_seconds = configuration.fleet.heartbeat_seconds
    if not interval_seconds:
        return None
    from shipper.services.heartbeats import Heartbeats

    keeper = identity.keepers[0]
    return Heartbeats(
        interval_seconds=interval_seconds,
        encoder=FrameEncoder(),
        now=lambda: now(keeper.state().skew_seconds),
        clock=ports.clock,
        rng=ports.rng,
        log=log,
    )

"""Builds what writes heartbeats, where ``[fleet]`` asks for it."""

from typing import TYPE_CHECKING, Any

from shipper.config.load import Configuration
from shipper.edges.encoder import FrameEncoder
from shipper.edges.server_time import ServerTime
from shipper.runtime.services import Ports
from shipper.runtime.wiring_identity import Identity
from shipper.services.bugs import Bugs

if TYPE_CHECKING:
    from shipper.services.heartbeats import Heartbeats


def heartbeats_for(
    configuration: Configuration,
    identity: Identity,
    server_time: ServerTime,
    ports: Ports,
    *,
    bugs: Bugs,
    log: Any,
) -> "Heartbeats | None":
    """None where none are asked for."""
    interval_seconds = configuration.fleet.heartbeat_seconds
    if not interval_seconds:
        return None
    from shipper.services.heartbeats import Heartbeats

    keeper = identity.keepers[0]
    return Heartbeats(
        interval_seconds=interval_seconds,
        encoder=FrameEncoder(),
        now=lambda: server_time.now(keeper.state().skew_seconds),
        clock=ports.clock,
        rng=ports.rng,
        bugs=bugs,
        log=log,
    )

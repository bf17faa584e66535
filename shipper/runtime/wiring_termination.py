"""Builds what watches for the machine's end. The part of ``wiring`` that is about nothing else."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shipper.config.load import Configuration
from shipper.core.termination import DrainPolicy, Reason
from shipper.edges.clock import SystemClock
from shipper.edges.files.directory_files import DirectoryFiles
from shipper.edges.imds.client import ImdsMetadata
from shipper.journal.journal import Journal
from shipper.services.credentials import CredentialKeeper
from shipper.services.finding.live_files import LiveFiles
from shipper.services.instance import InstanceLookup
from shipper.services.termination import Termination


def termination_for(
    *,
    configuration: Configuration,
    environment: Mapping[str, str],
    metadata: ImdsMetadata,
    keepers: Sequence[CredentialKeeper],
    journal: Journal,
    files: DirectoryFiles,
    instance_lookup: InstanceLookup,
    clock: SystemClock,
    log: Any,
    promised: Callable[[], None],
    begun: Callable[[], None],
    look: Callable[[], None],
) -> Termination:
    """Who asks whether the machine is about to end, and who promises its live files then."""
    table = configuration.termination
    wanted = {
        Reason.SPOT: table.spot,
        Reason.AUTOSCALING: table.autoscaling,
        Reason.REBALANCE: table.rebalance,
    }
    hook = None
    if table.lifecycle_hook:
        from shipper.edges.autoscaling import AutoScalingHook  # and botocore, where it is needed

        hook = AutoScalingHook(
            hook=table.lifecycle_hook,
            group=table.autoscaling_group,
            metadata=metadata,
            credentials=keepers[0].current,
            endpoint_url=environment.get("AWS_ENDPOINT_URL_AUTO_SCALING", ""),
        )

    def refreshed_now() -> None:
        for keeper in keepers:
            keeper.refresh_now()
        begun()

    return Termination(
        metadata=metadata,
        policy=DrainPolicy(
            table.lifecycle_timeout,
            has_hook=hook is not None,
            reasons=frozenset(reason for reason, is_wanted in wanted.items() if is_wanted),
            ships_live=table.ship_live_files,
        ),
        journal=journal,
        live=LiveFiles(
            watches=configuration.watches,
            key_template=configuration.destination.key,
            files=files,
            journal=journal,
            facts=lambda: instance_lookup.facts,
            clock=clock,
            promised=promised,
            log=log,
        ),
        hook=hook,
        begun=refreshed_now,
        look=look,
        skew_seconds=lambda: keepers[0].state().skew_seconds,
        clock=clock,
        log=log,
    )

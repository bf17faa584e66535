"""What a heartbeat says, gathered from the running services: of the same as the status."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from shipper import __version__
from shipper.config.load import Configuration
from shipper.core.destinations import shown
from shipper.core.heartbeats import (
    SCHEMA,
    DestinationWord,
    DiskWord,
    Heartbeat,
    Reason,
    State,
    WatchCounts,
    reason_from,
    state_of,
)
from shipper.core.lifecycle import UNSHIPPED
from shipper.core.object_keys import fact, printable
from shipper.core.types import State as ShipmentState
from shipper.edges.files.links import opened
from shipper.edges.files.roots import space_of
from shipper.ports import PortError
from shipper.reports.rows import explained, instant, refused_files, unshipped_ages
from shipper.reports.status import Report
from shipper.reports.status_rows import heartbeat_lines
from shipper.reports.watched import expected
from shipper.runtime.services import Services


def heartbeat_of(report: Report) -> Heartbeat:
    """How the instance does now; whoever writes it adds when that is."""
    services = report.services
    facts = services.instance_lookup.facts
    bare = Heartbeat(
        schema=SCHEMA,
        instance=fact(facts.instance_id) if facts is not None else "",
        at="",
        state=State.ILL.value,
        version=__version__,
        configuration=services.configuration.digest,
        interval_seconds=0.0,
        next_due_at="",
        destinations=tuple(_destinations(services)),
        disks=tuple(_disks(services.configuration)),
    )
    try:
        return services.bugs.contained(
            lambda: _told(report, bare), lambda why: _unknown(bare, why)
        )
    except PortError as error:  # the journal cannot be read
        return _unknown(bare, error)


def _told(report: Report, bare: Heartbeat) -> Heartbeat:
    services = report.services
    ailments, of_itself = report.ailments(), heartbeat_lines(services)
    imperfections = [line for line in report.imperfections() if line not in of_itself]
    state = state_of(
        is_known=bool(services.discovery.scans),
        is_draining=services.termination.is_draining,
        ailments=bool(ailments),
        imperfections=bool(imperfections),
    )
    watches = tuple(_watches(services))
    return replace(
        bare,
        state=state.value,
        reasons=tuple(reason_from(explained(line)[0]) for line in ailments + imperfections),
        watches=watches,
        overdue=sum(bool(one.overdue_seconds) for one in watches),
        oldest_unshipped_seconds=max(one.oldest_unshipped_seconds for one in watches),
    )


def _unknown(bare: Heartbeat, why: PortError) -> Heartbeat:
    return replace(bare, reasons=(Reason(why.code, f"nothing is known: {why}"),))


def _watches(services: Services) -> Iterator[WatchCounts]:
    figures, discovery, logs = (
        services.journal.figures,
        services.discovery,
        services.termination.live.logs,
    )
    unshipped, size_bytes, parked, refused = (Counter[str]() for _ in range(4))
    for total in figures.totals():
        if total.state in UNSHIPPED:
            unshipped[total.watch] += total.files
            size_bytes[total.watch] += total.raw_bytes
        if total.state is ShipmentState.PARKED:
            parked[total.watch] += total.files
    for (watch, _), files in refused_files(services).items():
        refused[watch] += files
    waiting = Counter(name for name, *_ in logs.unsealed)
    gone, ages, due = figures.lost_files(), unshipped_ages(services), expected(services)
    now, left_alone = services.clock.now(), discovery.left_alone
    for name in (watch.name for watch in services.configuration.watches):
        is_expected = name in due and discovery.scans
        alone = left_alone.get(name)
        yield WatchCounts(
            name=name,
            live=logs.counts.get(name, 0),
            waiting=waiting[name],
            unshipped=unshipped[name],
            unshipped_bytes=size_bytes[name],
            parked=parked[name],
            refused=refused[name],
            gone=gone.get(name, 0),
            left_alone=alone.files + alone.links if alone is not None else 0,
            oldest_unshipped_seconds=round(ages[name], 1),
            overdue_seconds=round(due[name].overdue_seconds(now), 1) if is_expected else 0.0,
        )


def _destinations(services: Services) -> Iterator[DestinationWord]:
    states = services.manifests.states() if services.manifests is not None else []
    chains = {state.target.name: state.chain for state in states}
    for one in services.destinations:
        shut, credentials, chain = one.shut(), one.keeper.state(), chains.get(one.name)
        yield DestinationWord(
            name=shown(one.name),
            gate=shut.code if shut is not None else "open",
            credentials=credentials.state.value,
            credentials_expire_at=instant(credentials.expires_at or None) or "",
            manifest=chain.number if chain is not None else 0,
            manifest_sha256=chain.sha256 if chain is not None else "",
            epoch=chain.epoch if chain is not None else "",
            address=chain.destination if chain is not None else "",
        )


def _disks(configuration: Configuration) -> Iterator[DiskWord]:
    """Each file system once, the journal's first."""
    known = set[int]()
    for directory in (
        configuration.state_directory,
        *(watch.directory for watch in configuration.watches),
    ):
        with suppress(OSError), opened(os.open(directory, os.O_PATH | os.O_CLOEXEC)) as at:
            space = space_of(at)
            if space.device not in known:
                known.add(space.device)
                ratio = round(space.used_ratio, 4)
                yield DiskWord(printable(os.fsencode(directory)), space.free_bytes, ratio)

"""``shipper run``: the daemon."""

import argparse
import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shipper.config.load import Configuration

SUMMARY = "watch the directories and ship rotated files until a signal"


def arguments(parser: argparse.ArgumentParser) -> None:
    """``--try``, with which a reload asks the program on disk."""
    parser.add_argument(
        "--try",
        action="store_true",
        dest="is_trial",
        help="only say whether it would start with this configuration",
    )
    parser.epilog = (
        "SIGHUP reads the configuration again and executes the program anew with it, or says why "
        "it is refused. SIGTERM ends the daemon within 25 seconds, a second SIGTERM at once. "
        "Shipments that `shipper retry` made due are taken up within 30 seconds."
    )


def _configuration(path: str | None) -> "Configuration":
    """The configuration, if the environment fits it. Nothing is asked."""
    from shipper.config.load import load
    from shipper.runtime.wiring_identity import identity_for

    configuration = load(path, os.environ)
    identity_for(configuration, os.environ, None)
    return configuration


def run(options: argparse.Namespace) -> int:
    """Run until a signal."""
    # A SIGHUP that comes before Daemon.run listens stays pending until then.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from shipper.edges.secrecy import forbid_dumps
    from shipper.edges.systemd import (
        Notifier,
        SystemdStore,
        execute_anew,
        foreign_receiver,
        received_descriptors,
        store_limit,
    )

    forbid_dumps()
    foreign = foreign_receiver(os.environ)
    received = received_descriptors(os.environ)  # before anything is opened
    from shipper.config.load import ConfigError, load
    from shipper.daemon.daemon import Daemon
    from shipper.daemon.reload import rehearse
    from shipper.edges.memory import share_one_heap
    from shipper.ports import PortError
    from shipper.runtime.exit_codes import EXIT_CONFIGURATION, EXIT_GOOD, EXIT_WRONG
    from shipper.runtime.logs import log_of_process
    from shipper.runtime.services import LOCK, Ports
    from shipper.runtime.wiring import build

    share_one_heap()
    try:
        configuration = _configuration(options.config)
    except (ConfigError, PortError) as error:
        if not received:
            raise
        print(error, file=sys.stderr)
        return EXIT_WRONG  # started again by systemd, which gives it all of it again
    if options.is_trial:
        return EXIT_GOOD
    is_given = bool(received)
    lock, notifier = received.pop(LOCK, None), Notifier(os.environ)
    store = SystemdStore(notifier, received, most=store_limit(os.environ))
    log, redactor = log_of_process(configuration.log.level, configuration.log.format)
    if foreign:
        hint = "what systemd kept is not held: let ExecStart= run shipper itself, with no wrapper"
        log.warning("held.passed_by", pid=foreign, hint=hint)
    held_files = configuration.uploads.held_files
    if notifier.has_manager and store.most < held_files:
        hint = f"FileDescriptorStoreMax={held_files}, or lower uploads.held_files"
        log.warning("held.unstored", held_files=held_files, stored_files=store.most, hint=hint)
    ports = Ports(descriptor_store=store, lock=lock)
    services = build(
        configuration, environment=os.environ, log=log, redactor=redactor, ports=ports
    )
    daemon = Daemon(
        services,
        notifier=notifier,
        environment=os.environ,
        load=partial(load, options.config, os.environ),
        rehearse=partial(rehearse, os.environ),
        execute=partial(execute_anew, environment=os.environ),
    )
    code = daemon.run()
    # After a 78 systemd would start no other, and close what it keeps.
    is_holding = is_given or store.is_holding
    return EXIT_WRONG if code == EXIT_CONFIGURATION and is_holding else code

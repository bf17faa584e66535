"""``shipper run``: the daemon."""

import argparse
import os
import signal
import sys
from functools import partial

SUMMARY = "the daemon: watch, ship, stay"
OPENING_SECONDS = 600.0
"""What systemd gives before the first loop beats: a journal may have to be migrated."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing beyond the configuration."""
    parser.epilog = (
        "SIGHUP takes up the configuration as it is written then, or says why it is refused; "
        "SIGTERM ends within 25 seconds, a second one at once. What `shipper retry` makes due "
        "is taken up within 30 seconds."
    )


def run(options: argparse.Namespace) -> int:
    """Run until a signal."""
    # A reload that is asked for meanwhile waits until somebody listens, in Daemon.run.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from shipper.edges.systemd import Notifier, SystemdStore, execute_anew, received_descriptors

    received = received_descriptors(os.environ)  # before anything is opened
    from shipper.config.load import load
    from shipper.daemon.daemon import Daemon
    from shipper.edges.memory import share_one_heap
    from shipper.runtime.logs import Redactor, make_logger
    from shipper.runtime.services import LOCK, Ports
    from shipper.runtime.wiring import build

    share_one_heap()
    lock, notifier = received.pop(LOCK, None), Notifier(os.environ)
    configuration = load(options.config, os.environ)
    redactor = Redactor()
    log = make_logger(configuration.log.level, configuration.log.format, sys.stderr, redactor)
    notifier.extend(OPENING_SECONDS)
    ports = Ports(descriptor_store=SystemdStore(notifier, received), lock=lock)
    services = build(
        configuration, environment=os.environ, log=log, redactor=redactor, ports=ports
    )
    daemon = Daemon(
        services,
        notifier=notifier,
        environment=os.environ,
        load=partial(load, options.config, os.environ),
        execute=partial(execute_anew, environment=os.environ),
    )
    return daemon.run()

"""``shipper run``: the daemon."""

import argparse
import os
import signal
import sys
from functools import partial

SUMMARY = "watch the directories and ship rotated files until a signal"


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""
    parser.epilog = (
        "SIGHUP reads the configuration again and executes the program anew with it, or says why "
        "it is refused. SIGTERM ends the daemon within 25 seconds, a second SIGTERM at once. "
        "Shipments that `shipper retry` made due are taken up within 30 seconds."
    )


def run(options: argparse.Namespace) -> int:
    """Run until a signal."""
    # A SIGHUP that comes before Daemon.run listens stays pending until then.
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

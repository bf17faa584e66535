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
        "SIGHUP reads the configuration again and takes it up, or says why it is refused. "
        "SIGTERM ends the daemon within 25 seconds, a second SIGTERM at once. Shipments that "
        "`shipper retry` made due are taken up within 30 seconds."
    )


def run(options: argparse.Namespace) -> int:
    """Run until a signal."""
    # A SIGHUP that comes before Daemon.run listens stays pending until then.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from shipper.config.load import load
    from shipper.daemon.daemon import Daemon
    from shipper.daemon.reload import successor
    from shipper.edges.memory import share_one_heap
    from shipper.edges.systemd import Notifier
    from shipper.runtime.logs import Redactor, make_logger
    from shipper.runtime.wiring import build

    share_one_heap()
    configuration = load(options.config, os.environ)
    redactor = Redactor()
    log = make_logger(configuration.log.level, configuration.log.format, sys.stderr, redactor)
    services = build(configuration, environment=os.environ, log=log, redactor=redactor)
    succeed = partial(successor, path=options.config, environment=os.environ, redactor=redactor)
    notifier = Notifier(os.environ)
    daemon = Daemon(services, notifier=notifier, environment=os.environ, succeed=succeed)
    return daemon.run()

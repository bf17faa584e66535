"""``shipper run``: the daemon."""

import argparse
import os
import sys

SUMMARY = "the daemon: watch, ship, stay"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing beyond the configuration."""


def run(options: argparse.Namespace) -> int:
    """Run until a signal."""
    from shipper.app.config import load
    from shipper.app.daemon import Daemon
    from shipper.app.logs import Redactor, make_logger
    from shipper.app.wiring import build
    from shipper.edges.memory import share_one_heap
    from shipper.edges.systemd import Notifier

    share_one_heap()
    configuration = load(options.config, os.environ)
    redactor = Redactor()
    log = make_logger(configuration.log.level, configuration.log.format, sys.stderr, redactor)
    house = build(configuration, environment=os.environ, log=log, redactor=redactor)
    return Daemon(house, notifier=Notifier(os.environ), environment=os.environ).run()

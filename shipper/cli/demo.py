"""``shipper demo``: the whole story on one machine, nothing to configure."""

import argparse

SUMMARY = "the whole story on one machine, nothing to configure"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keep", action="store_true", help="leave the directory and the servers for exploring"
    )


def run(options: argparse.Namespace) -> int:
    """1 if a single byte is missing or doubled."""
    from shipper.demo.demo import show

    return show(keep=options.keep)

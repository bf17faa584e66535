"""``shipper credentials``: the role's credentials as this machine sees them; never a secret."""

import argparse
import json
import os

SUMMARY = "show role, account, key id, expiry and state; never a secret"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def run(options: argparse.Namespace) -> int:
    """Ask the running daemon, else the metadata service; 1 when there is nothing to sign with."""
    from shipper.config.load import load
    from shipper.edges.secrecy import forbid_dumps
    from shipper.reports.inspect import credentials

    forbid_dumps()
    document = credentials(load(options.config, os.environ), os.environ)
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        for name, value in document.items():
            if value not in ("", None):
                print(f"{name.replace('_', ' ')}: {value}")
    return 0 if document["is_usable"] else 1

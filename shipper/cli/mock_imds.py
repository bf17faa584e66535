"""``shipper mock-imds``: the mocked metadata service, for laptops, demos and image tests."""

import argparse
import signal
import sys

SUMMARY = "a metadata service for this machine, to run shipper where there is none"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where to listen, and what to say."""
    parser.add_argument("--listen", default="127.0.0.1:1338", metavar="HOST:PORT")
    parser.add_argument(
        "--lifetime", default="6h", metavar="DURATION", help="of the role credentials"
    )
    parser.add_argument("--role", default="shipper", help="the role's name")
    parser.add_argument("--instance-id", default="i-0123456789abcdef0")
    parser.add_argument("--region", default="eu-central-1")
    parser.add_argument("--account-id", default="123456789012")
    parser.add_argument("--access-key-id", default="", help="hand out these keys, always")
    parser.add_argument("--secret-access-key", default="")
    parser.add_argument("--session-token", default="")
    parser.add_argument("--tag", action="append", default=[], metavar="NAME=VALUE")


def run(options: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    from shipper.app.units import seconds_from_text
    from shipper.mock.imds import Facts, Keys, MockImds
    from shipper.ports import PortError

    host, _, port = options.listen.rpartition(":")
    keys = Keys(options.access_key_id, options.secret_access_key, options.session_token)
    try:
        facts = Facts(
            role=options.role,
            instance_id=options.instance_id,
            account_id=options.account_id,
            region=options.region,
            lifetime_seconds=seconds_from_text(options.lifetime),
            keys=keys if options.access_key_id else None,
            tags=dict(tag.split("=", 1) for tag in options.tag),
        )
        service = MockImds(facts, host=host.strip("[]") or "127.0.0.1", port=int(port))
    except (ValueError, OverflowError, OSError) as error:
        raise PortError(
            "BadOption", str(error), "--listen 127.0.0.1:1338 --lifetime 60s --tag Name=value"
        ) from error
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with service:
        print(f"export AWS_EC2_METADATA_SERVICE_ENDPOINT={service.url}", flush=True)
        print("answers IMDSv2 until interrupted", file=sys.stderr, flush=True)
        signal.sigwait(signals)
    return 0

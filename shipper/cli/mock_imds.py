"""``shipper mock-imds``: the mocked metadata service, for laptops, demos and image tests."""

import argparse
import contextlib
import json
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shipper.mock.facts import Facts
    from shipper.mock.imds import MockImds
    from shipper.mock.issuing import Source

SUMMARY = "a metadata service for this machine, to run shipper where there is none"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where to listen, what to say, and what happens when."""
    parser.add_argument("--listen", default="127.0.0.1:1338", metavar="HOST:PORT")
    parser.add_argument(
        "--unsafe-listen",
        action="store_true",
        help="allow an address that is not loopback, and any Host header",
    )
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
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any setting, at the start",
    )
    parser.add_argument("--scenario", metavar="FILE", help="settings by time, as TOML or JSON")
    parser.add_argument(
        "--control", default="", metavar="HOST:PORT", help="a loopback port for `set`"
    )
    parser.add_argument(
        "--credentials-from",
        choices=["random", "sts"],
        default="random",
        help="sts: real ones from --endpoint-url (the keys given, else any, sign the request)",
    )
    parser.add_argument("--endpoint-url", default="", metavar="URL", help="of STS")
    change = parser.add_subparsers(dest="act", metavar="set").add_parser(
        "set", help="change a service that runs, and show what it is"
    )
    change.add_argument("--control", dest="at", required=True, metavar="URL")
    change.add_argument("settings", nargs="*", metavar="NAME=VALUE")


def run(options: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; or change a service that does."""
    return _set(options) if options.act == "set" else _serve(options)


def _set(options: argparse.Namespace) -> int:
    from shipper.mock.control import ask
    from shipper.mock.settings import changes_from_texts

    settings = changes_from_texts(options.settings, "set") if options.settings else None
    json.dump(ask(options.at, settings), sys.stdout, indent=2)
    print()
    return 0


def _serve(options: argparse.Namespace) -> int:
    from shipper.mock.scenario import Player, Scenario, load
    from shipper.mock.settings import changes_from, changes_from_texts

    scenario = load(options.scenario) if options.scenario else Scenario(())
    first = changes_from(changes_from_texts(options.set, "--set"), "--set")
    service, control = _built(options)
    first.apply(service)
    player, stopping = Player(scenario, service), threading.Event()
    player.advance(0.0)
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    playing = threading.Thread(target=player.run, args=(stopping,), daemon=True)
    with service, control as running:
        print(f"export AWS_EC2_METADATA_SERVICE_ENDPOINT={service.url}", flush=True)
        if running is not None:
            print(f"# shipper mock-imds set --control {running.url} NAME=VALUE", flush=True)
        print("# answers IMDSv2 until interrupted", flush=True)
        playing.start()
        signal.sigwait(signals)
        stopping.set()
        playing.join()
    return 0


def _built(options: argparse.Namespace) -> "tuple[MockImds, Any]":
    from shipper.mock.control import Control
    from shipper.mock.imds import MockImds
    from shipper.ports import PortError

    try:
        host, port = _address(options.listen)
        service = MockImds(
            _facts(options),
            host=host,
            port=port,
            source=_source(options),
            log=_log,
            is_open=options.unsafe_listen,
        )
    except OSError as error:
        detail = f"--listen {options.listen}: {error.strerror}"
        raise PortError("BadOption", detail, "another port, or 0 for any that is free") from error
    except (ValueError, OverflowError) as error:
        raise PortError(
            "BadOption", str(error), "--listen 127.0.0.1:1338 --lifetime 60s --tag Name=value"
        ) from error
    if not options.control:
        return service, contextlib.nullcontext()
    try:
        host, port = _address(options.control)
        return service, Control(service, host=host, port=port)
    except (ValueError, OverflowError, OSError) as error:
        service.stop()
        raise PortError("BadOption", f"--control: {error}", "--control 127.0.0.1:1339") from error


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.removeprefix("http://").rpartition(":")
    return host.strip("[]") or "127.0.0.1", int(port)


def _facts(options: argparse.Namespace) -> "Facts":
    from shipper.config.units import seconds_from_text
    from shipper.mock.facts import Facts, Keys

    keys = Keys(options.access_key_id, options.secret_access_key, options.session_token)
    is_given = options.access_key_id and options.credentials_from == "random"
    return Facts(
        role=options.role,
        instance_id=options.instance_id,
        account_id=options.account_id,
        region=options.region,
        lifetime_seconds=seconds_from_text(options.lifetime),
        keys=keys if is_given else None,
        tags=dict(tag.split("=", 1) for tag in options.tag),
    )


def _source(options: argparse.Namespace) -> "Source":
    from shipper.mock.facts import Keys
    from shipper.mock.issuing import made_up

    if options.credentials_from == "random":
        if options.endpoint_url:
            raise ValueError("--endpoint-url is for --credentials-from sts")
        return made_up
    if not options.endpoint_url.startswith(("http://", "https://")):
        raise ValueError("--credentials-from sts needs --endpoint-url http://...")
    from shipper.mock.sts import ANYBODY, StsSource

    keys = Keys(options.access_key_id, options.secret_access_key, options.session_token)
    return StsSource(options.endpoint_url, keys if options.access_key_id else ANYBODY)


def _log(line: dict[str, Any]) -> None:
    # One write a line, so that those of two threads do not mix.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(json.dumps(line) + "\n")
        sys.stderr.flush()

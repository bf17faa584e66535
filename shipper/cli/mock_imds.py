"""``shipper mock-imds``: the mocked metadata service, for laptops, demos and image tests."""

import argparse
import contextlib
import json
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shipper.mock.facts import Facts
    from shipper.mock.imds import MockImds
    from shipper.mock.issuing import Source
    from shipper.mock.scenario import Player

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
    parser.add_argument(
        "--scenario",
        metavar="FILE",
        help="settings by time, as TOML or JSON; read again on SIGHUP",
    )
    parser.add_argument(
        "--credentials-from",
        choices=["random", "sts"],
        default="random",
        help="sts: real ones from --endpoint-url (the keys given, else any, sign the request)",
    )
    parser.add_argument("--endpoint-url", default="", metavar="URL", help="of STS")


def run(options: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; SIGHUP begins the scenario anew, as its file is then."""
    from shipper.mock.scenario import Player, Scenario, load
    from shipper.mock.settings import changes_from, changes_from_texts

    scenario = load(options.scenario) if options.scenario else Scenario(())
    first = changes_from(changes_from_texts(options.set, "--set"), "--set")
    service = _built(options)
    first.apply(service)
    player, started = Player(scenario, service), time.monotonic()
    player.advance(0.0)
    signals = {signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if options.scenario else [])}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with service:
        print(f"export AWS_EC2_METADATA_SERVICE_ENDPOINT={service.url}", flush=True)
        print("# answers IMDSv2 until interrupted", flush=True)
        while _played(player, started, signals) == signal.SIGHUP:
            fresh = _read_again(options.scenario, service)
            if fresh is not None:
                player, started = fresh, time.monotonic()
    return 0


def _played(player: "Player", started: float, signals: set[signal.Signals]) -> int:
    """Play until a signal comes; its number."""
    while (wait := player.advance(time.monotonic() - started)) is not None:
        found = signal.sigtimedwait(signals, wait)
        if found is not None:
            return found.si_signo
    return signal.sigwait(signals)


def _read_again(path: str, service: "MockImds") -> "Player | None":
    """What plays the scenario as it is now; None, and its problems are logged, if it is bad."""
    from shipper.mock.scenario import Player, load
    from shipper.ports import PortError

    try:
        scenario = load(path)
    except PortError as error:
        service.say(scenario="refused", problems=error.detail.splitlines())
        return None
    service.say(scenario="read", about=scenario.about)
    return Player(scenario, service)


def _built(options: argparse.Namespace) -> "MockImds":
    from shipper.mock.imds import MockImds
    from shipper.ports import PortError

    try:
        host, port = _address(options.listen)
        return MockImds(
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

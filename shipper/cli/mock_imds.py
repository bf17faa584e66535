"""``shipper mock-imds``: the mocked metadata service, for laptops, demos and image tests."""

import argparse
import contextlib
import json
import secrets
import shlex
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shipper.mock.facts import Keys
    from shipper.mock.imds import MockImds
    from shipper.mock.issuing import Source
    from shipper.mock.scenario import Player

SUMMARY = "a metadata service for this machine, to run shipper where there is none"


def arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--listen", default="127.0.0.1:1338", metavar="HOST:PORT")
    says = "allow an address that is not loopback, and any Host header"
    add("--unsafe-listen", action="store_true", help=says)
    says = "answer as a container's endpoints instead: credentials and the ECS task's metadata"
    add("--container", action="store_true", help=says)
    add("--lifetime", default="6h", metavar="DURATION", help="of the role credentials")
    add("--role", default="shipper", help="the role's name")
    add("--instance-id", default="i-0123456789abcdef0")
    add("--region", default="eu-central-1")
    add("--account-id", default="123456789012")
    add("--access-key-id", default="", help="hand out these keys, always")
    add("--secret-access-key", default="")
    add("--session-token", default="")
    add("--tag", action="append", default=[], metavar="NAME=VALUE")
    says = "any setting, at the start"
    add("--set", action="append", default=[], metavar="NAME=VALUE", help=says)
    says = "settings by time, as TOML or JSON; read again on SIGHUP"
    add("--scenario", metavar="FILE", help=says)
    says = "sts: real ones from --endpoint-url (the keys given, else any, sign the request)"
    add("--credentials-from", choices=["random", "sts"], default="random", help=says)
    add("--endpoint-url", default="", metavar="URL", help="of STS")


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
        environment = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": service.url}
        if options.container:
            environment = service.container_environment
        for name, value in environment.items():
            print(f"export {name}={shlex.quote(value)}", flush=True)
        what = "as a container's endpoints" if options.container else "IMDSv2"
        print(f"# answers {what} until interrupted", flush=True)
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
    from shipper.config.units import seconds_from_text
    from shipper.mock.facts import Facts, Keys
    from shipper.mock.imds import MockImds
    from shipper.ports import PortError

    keys = Keys(options.access_key_id, options.secret_access_key, options.session_token)
    given = keys if options.access_key_id else None
    try:
        host, _, port = options.listen.removeprefix("http://").rpartition(":")
        facts = Facts(
            role=options.role,
            instance_id=options.instance_id,
            account_id=options.account_id,
            region=options.region,
            lifetime_seconds=seconds_from_text(options.lifetime),
            keys=given if options.credentials_from == "random" else None,
            tags=dict(tag.split("=", 1) for tag in options.tag),
            authorization=secrets.token_urlsafe(24) if options.container else "",
        )
        return MockImds(
            facts,
            host=host.strip("[]") or "127.0.0.1",
            port=int(port),
            source=_source(options, given),
            log=_log,
            is_open=options.unsafe_listen,
            is_container=options.container,
        )
    except OSError as error:
        detail = f"--listen {options.listen}: {error.strerror}"
        raise PortError("BadOption", detail, "another port, or 0 for any that is free") from error
    except (ValueError, OverflowError) as error:
        hint = "--listen 127.0.0.1:1338 --lifetime 60s --tag Name=value"
        raise PortError("BadOption", str(error), hint) from error


def _source(options: argparse.Namespace, given: "Keys | None") -> "Source":
    from shipper.mock.issuing import made_up

    if options.credentials_from == "random":
        if options.endpoint_url:
            raise ValueError("--endpoint-url is for --credentials-from sts")
        return made_up
    if not options.endpoint_url.startswith(("http://", "https://")):
        raise ValueError("--credentials-from sts needs --endpoint-url http://...")
    from shipper.mock.sts import ANYBODY, StsSource

    return StsSource(options.endpoint_url, given or ANYBODY)


def _log(line: dict[str, Any]) -> None:
    # One write a line, so that those of two threads do not mix.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(json.dumps(line) + "\n")
        sys.stderr.flush()

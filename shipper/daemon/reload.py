"""Whether another configuration can be taken up, and the program that takes it up."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import NoReturn

from shipper.config.load import ConfigError, Configuration
from shipper.core.object_keys import InstanceFacts
from shipper.ports import PortError
from shipper.reports.http import Listeners
from shipper.runtime.exit_codes import EXIT_WRONG
from shipper.runtime.services import Services
from shipper.runtime.wiring_store import require_usable

ANY_REGION = "us-east-1"
"""Where a client is made for trial before the instance's region is known."""
THREADS_SECONDS = 1.0
REHEARSAL_SECONDS = 30.0


class Refused(Exception):
    """The configuration cannot be taken up, for every one of these reasons."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems


def changes(
    services: Services,
    load: Callable[[], Configuration],
    environment: Mapping[str, str],
    listen: Callable[[str], None],
    rehearse: Callable[[], str],
) -> list[str]:
    """What differs in the configuration as it is written now, which can be taken up.

    ``rehearse`` asks the program on disk, ``listen`` takes the TCP address. Nothing else has
    happened.

    Raises:
        Refused: it is wrong, or cannot be taken up without a restart.
    """
    now = services.configuration
    if services.termination.is_draining:
        raise Refused("the machine is about to end")
    try:
        services.journal.origin.probe()
    except PortError as error:
        raise Refused(f"{error}: the next program could not open it") from error
    try:
        new = load()
    except ConfigError as error:
        raise Refused(*map(str, error.problems)) from error
    if new.state_directory != now.state_directory:
        what = f"{new.state_directory} is not {now.state_directory}, which this process holds"
        raise Refused(f"state_directory: {what} (hint: restart shipper)")
    facts = services.instance_lookup.facts
    known = facts or InstanceFacts(prefix="", instance_id="", region=ANY_REGION)
    shut = {one.name: one.gate.reason() for one in services.destinations}
    working = {name for name, why in shut.items() if why is None or why.code != "BadDestination"}
    try:
        require_usable(new, environment, known, working)
        if problem := rehearse():
            raise Refused(f"the program on disk would not start: {problem}")
        listen(new.http.listen)
    except PortError as error:
        raise Refused(f"{error} (hint: {error.hint})" if error.hint else str(error)) from error
    names = [field.name for field in fields(Configuration)]
    return [name for name in names if getattr(now, name) != getattr(new, name)]


def rehearse(environment: Mapping[str, str]) -> str:
    """Why the program on disk, with the same arguments, would not start; empty when it would.

    It may be another by now, or one that is just being unpacked.
    """
    try:
        tried = subprocess.run(
            [sys.executable, *sys.orig_argv[1:], "--try"],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=REHEARSAL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = tried.stdout.decode("utf-8", "replace").strip()
    return f"it ends with {tried.returncode}: {said}" if tried.returncode else ""


def hand_over(
    services: Services,
    listeners: Listeners,
    execute: Callable[[Mapping[str, int]], NoReturn],
) -> NoReturn:
    """Let the program on disk take this one's place, with the lock and what is held.

    Where it cannot be executed, this one ends. systemd starts another, with what is held.
    """
    listeners.close()
    descriptors = services.hand_over()
    _wait_for_threads()
    try:
        execute(descriptors)
    except OSError as error:
        hint = "the program is not there any more: start it anew"
        services.log.critical("reload.failed", detail=str(error), hint=hint)
        raise SystemExit(EXIT_WRONG) from error


def _wait_for_threads() -> None:
    """Give those that still answer a client time to end: a descriptor that one of them closes
    could be one that is passed on."""
    deadline = time.monotonic() + THREADS_SECONDS
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))

"""Another configuration for the same process: read, judged, and built beside the one at work.

Whatever can be wrong with it is found before anything of the old one is stopped, so a refusal
costs nothing. The state directory cannot change: what is held and promised belongs to it.
"""

import sys
from collections.abc import Mapping
from dataclasses import fields

from shipper.config.load import ConfigError, Configuration, load
from shipper.ports import PortError
from shipper.runtime.logs import Redactor, make_logger, take_over_library_logs
from shipper.runtime.wiring import Services, build
from shipper.runtime.wiring_carrier import store_for

ANY_REGION = "us-east-1"


class Refused(Exception):
    """The configuration cannot be taken up, for every one of these reasons."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(problems)
        self.problems = problems


def successor(
    services: Services, *, path: str | None, environment: Mapping[str, str], redactor: Redactor
) -> Services:
    """A house of the configuration as it is written now, with the estate of the one at work.

    Raises:
        Refused: the configuration is wrong, or cannot be taken up without a restart.
    """
    try:
        configuration = load(path, environment)
    except ConfigError as error:
        raise Refused(tuple(str(problem) for problem in error.problems)) from error
    _require_same_state(services.configuration, configuration)
    log = make_logger(configuration.log.level, configuration.log.format, sys.stderr, redactor)
    try:
        new = build(
            configuration,
            environment=environment,
            log=log,
            redactor=redactor,
            estate=services.estate,
        )
        _require_client(new, services)
    except PortError as error:
        take_over_library_logs(services.log)
        hint = f" (hint: {error.hint})" if error.hint else ""
        raise Refused((f"{error}{hint}",)) from error
    return new


def changed(old: Configuration, new: Configuration) -> list[str]:
    """What differs, by the names of ``Configuration``."""
    names = [field.name for field in fields(Configuration)]
    return [name for name in names if getattr(old, name) != getattr(new, name)]


def _require_same_state(old: Configuration, new: Configuration) -> None:
    if old.state_directory != new.state_directory:
        what = f"{new.state_directory} is not {old.state_directory}, which this process holds"
        raise Refused((f"state_directory: {what} (hint: restart shipper)",))


def _require_client(new: Services, old: Services) -> None:
    """Region and endpoint make a client: found out now, and not once the old one has stopped.

    Raises:
        PortError: ``BadDestination``.
    """
    facts = old.instance_lookup.facts
    region = new.configuration.destination.region or (facts.region if facts else ANY_REGION)
    try:
        store_for(new, region, 1).close()
    except PortError:
        new.leave()
        raise

"""``shipper``: find the command, run it, and turn errors into words and exit codes.

Each command is a module with ``SUMMARY``, ``arguments(parser)`` and ``run(options) -> exit code``.
A command imports what it needs when it runs, so that ``shipper status`` does not pay for an S3
client.
"""

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import NoReturn

from shipper import __version__
from shipper.cli import (
    acknowledge,
    audit,
    cat,
    check,
    config,
    credentials,
    demo,
    explain,
    fetch,
    find,
    fleet,
    iam,
    init,
    mock_imds,
    plan,
    retry,
    run,
    ship,
    sql,
    status,
)
from shipper.runtime.exit_codes import (
    CONFIGURATION_CODES,
    EXIT_BUG,
    EXIT_CONFIGURATION,
    EXIT_USAGE,
    EXIT_WRONG,
)

COMMANDS = {
    "init": init,
    "run": run,
    "ship": ship,
    "check": check,
    "plan": plan,
    "status": status,
    "explain": explain,
    "retry": retry,
    "acknowledge": acknowledge,
    "audit": audit,
    "credentials": credentials,
    "find": find,
    "cat": cat,
    "fetch": fetch,
    "fleet": fleet,
    "iam": iam,
    "config": config,
    "sql": sql,
    "mock-imds": mock_imds,
    "demo": demo,
}


_UNWRITABLE = {errno.ENOSPC: "the disk is full", errno.EBADF: "it is closed"}


class _Parser(argparse.ArgumentParser):
    def format_help(self) -> str:
        from shipper.cli.examples import end_with_examples  # a start has no use for them

        end_with_examples(self)
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        if message.endswith(": COMMAND"):
            message += " (`shipper --help` lists them)"
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


def parser() -> argparse.ArgumentParser:
    whole = _Parser(
        prog="shipper",
        description="Puts every rotated log file of an EC2 instance into S3, whole, exactly once.",
    )
    whole.add_argument("--version", action="version", version=f"shipper {__version__}")
    _add_config(whole, None)
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.SUMMARY, description=command.SUMMARY)
        _add_config(sub, argparse.SUPPRESS)
        command.arguments(sub)
    return whole


def _add_config(parser: argparse.ArgumentParser, default: str | None) -> None:
    """``--config``, before the command or after it."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=default,
        help="default: $SHIPPER_CONFIG, then /etc/shipper/shipper.toml",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    # An empty variable is an unset one: for botocore, OpenSSL and children, too.
    for name in [name for name, value in os.environ.items() if not value]:
        del os.environ[name]
    _mend_streams()
    options = parser().parse_args(arguments)
    try:
        code: int = COMMANDS[options.command].run(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001  (the command line's top)
        return _explained(error)


def _mend_streams() -> None:
    """Where the shell closed one (``>&-``), Python has none, and what is opened next would get its
    number. Where the locale has no letter for what is printed, its escape is printed."""
    for name, flags in (("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), "w"))
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _explained(error: Exception) -> int:
    from shipper.config.load import ConfigError
    from shipper.ports import PortError

    is_of_output = isinstance(error, OSError) and error.filename is None
    why = _UNWRITABLE.get(getattr(error, "errno", 0)) if is_of_output else None
    if why or isinstance(error, BrokenPipeError):
        # Exit must not flush into what takes no more: a full disk, or a pipe nobody reads.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if why:
            print(f"shipper: the output cannot be written: {why}", file=sys.stderr)
        return EXIT_WRONG
    if isinstance(error, ConfigError):
        print(error, file=sys.stderr)
        return EXIT_CONFIGURATION
    if isinstance(error, PortError):
        print(f"shipper: {error}", file=sys.stderr)
        if error.hint:
            print(f"  hint: {error.hint}", file=sys.stderr)
        return EXIT_CONFIGURATION if error.code in CONFIGURATION_CODES else EXIT_WRONG
    sys.excepthook(type(error), error, error.__traceback__)  # the log's, where there is one
    print("shipper: this is a bug of shipper; the journal is safe", file=sys.stderr)
    return EXIT_BUG

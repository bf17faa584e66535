"""``shipper init``: from a bucket's name to a configuration that has been tried.

The file is written beside its place, read as the daemon would read it, and put there in one step.
Whatever ends the command before that leaves no file behind.
"""

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from shipper.ports import PortError
from shipper.runtime.exit_codes import EXIT_USAGE

if TYPE_CHECKING:
    from shipper.reports.found_logs import FoundLogs

SUMMARY = "write a configuration for this machine's logs, and try it"
SCHEMA = "file:///usr/share/shipper/shipper.schema.json"
"""Where an installation has what ``shipper config schema`` prints."""

Ask = Callable[[str, str], str]
"""A question and its default; the answer."""


def arguments(parser: argparse.ArgumentParser) -> None:
    for flag, metavar, says in (
        ("--bucket", "NAME", "the bucket; asked for on a terminal"),
        ("--region", "REGION", "the bucket's; default: the instance's"),
        ("--prefix", "PREFIX", "of every key, with its slash; default: logs/"),
        ("--endpoint-url", "URL", "an S3-compatible server; default: AWS"),
        ("--output", "FILE", "default: the configuration that would be read"),
    ):
        parser.add_argument(flag, metavar=metavar, help=says)
    parser.add_argument(
        "--directory",
        metavar="DIRECTORY",
        action="append",
        help="a directory with logs; repeatable; default: those found",
    )
    parser.add_argument(
        "--below",
        metavar="DIRECTORY",
        default="/var/log",
        help="where directories with rotated logs are looked for; default: %(default)s",
    )
    for flag, says in (
        ("--yes", "ask nothing: what no option says has its default"),
        ("--force", "replace the file if it is there"),
        ("--offline", "try only what needs no network"),
    ):
        parser.add_argument(flag, action="store_true", help=says)


def run(options: argparse.Namespace) -> int:
    """Write the file, say what AWS must be told, and try it; 1 when the trial finds a fault."""
    from shipper.config.load import DEFAULT_FILE

    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names of files
    is_asking = not options.yes and sys.stdin.isatty() and sys.stdout.isatty()
    if not options.bucket and not is_asking:
        print("shipper init: no terminal to ask on: give --bucket NAME", file=sys.stderr)
        return EXIT_USAGE
    ask = _asked if is_asking else _by_default
    chosen = options.output or options.config
    path = os.path.realpath(chosen or os.environ.get("SHIPPER_CONFIG") or DEFAULT_FILE)
    _require_place(path)
    is_told = options.force or (
        os.path.lexists(path) and ask(f"{path} is there. Replace it? [y/N]", "").lower() == "y"
    )
    if os.path.lexists(path) and not is_told:
        raise _there(path)
    _require_good_options(options, path)
    _write(path, _text(options, ask), is_told=is_told)
    print(f"written: {path}")
    code = _tried(options, ["--config", chosen] if chosen else [])
    print(f"\nnext: {'first correct what is WRONG above; then ' * bool(code)}{next_step(path)}")
    return code


def _tried(options: argparse.Namespace, config: list[str]) -> int:
    """Run what an operator would run next; the worst of their codes."""
    from shipper.cli.main import main

    codes, plan = [], ("What would be shipped now", "plan")
    for what, *words in (
        ("What AWS must be told, once", "iam", "commands"),
        ("What is missing", "check", *["--offline"] * options.offline),
        *[plan] * (not options.offline),  # it asks the metadata service
    ):
        print(f"\n# {what}: shipper {' '.join(words)}\n", flush=True)
        if "iam" not in words or not options.endpoint_url:
            codes.append(main([*words, *config]))
    return max(codes)


def next_step(path: str) -> str:
    """What makes a daemon of it: the unit reads the default file, and no other."""
    import shlex

    from shipper.config.load import DEFAULT_FILE
    from shipper.core.hints import AS_SHIPPER

    is_installed = os.path.exists(AS_SHIPPER)
    if path != os.path.realpath(DEFAULT_FILE):
        config = f"--config {shlex.quote(path)}"
        return f"shipper check {config}, and: shipper run {config}"
    if not is_installed:
        return "systemd/install.sh, in a clone of shipper's repository"
    return "as-shipper shipper check, and: systemctl enable --now shipper"


def _asked(question: str, default: str) -> str:
    """The answer of whoever sits at the terminal."""
    try:
        return input(f"{question}{f' [{default}]' * bool(default)}: ").strip() or default
    except UnicodeDecodeError:
        print("that is not UTF-8")
        return _asked(question, default)
    except EOFError:
        raise PortError("NotAnswered", "the input has ended", "nothing was written") from None


def _by_default(_: str, default: str) -> str:
    return default


def _text(options: argparse.Namespace, ask: Ask) -> str:
    """The file, from options and answers."""
    from shipper.config.commented import Table, commented
    from shipper.config.variables import literal

    destination = _destination(options, ask)
    watches = _watches(_logs(options, ask))
    if not options.directory:  # what an operator types may have variables, a name has none
        watches = literal(watches)
    tables: list[Table] = [("destination", destination), *(("watch", one) for one in watches)]
    return (
        f"#:schema {SCHEMA}\n"
        "# Made by `shipper init`. `shipper config default` prints every key,\n"
        "# and `shipper check` says what is wrong.\n\n" + commented(tables)
    )


def _destination(options: argparse.Namespace, ask: Ask) -> dict[str, Any]:
    import re

    from shipper.config.load import refused_in
    from shipper.core.destinations import Destination

    found: dict[str, Any] = {"bucket": "any"}
    for key, question, default in (
        ("bucket", "Bucket", ""),
        ("prefix", "Prefix of every key, with its slash", Destination("any").prefix),
        ("region", "The bucket's region (empty: the instance's)", ""),
    ):
        found[key] = getattr(options, key)
        while found[key] is None:  # an option's value stays as it is
            found[key] = ask(question, default)
            raw = found | {"endpoint_url": options.endpoint_url or ""}
            wrong = refused_in(raw, Destination, os.environ)
            if key in wrong:
                print("{}: {} ({})".format(key, *wrong[key]))
                found[key] = None
            if key == "prefix" and found[key] and not found[key].endswith("/"):
                found[key] += "/"
                print(f"prefix: {found[key]}, with its slash")
    found["endpoint_url"] = options.endpoint_url
    if not options.endpoint_url and re.fullmatch(r"(?!arn:)[^${]*[A-Z_][^${]*", found["bucket"]):
        print("bucket: AWS makes none with capitals or _ any more; only very old ones have them")
    return {key: value for key, value in found.items() if value or key in ("bucket", "prefix")}


def _logs(options: argparse.Namespace, ask: Ask) -> "list[FoundLogs]":
    """The directories that were named, or those found of which somebody chose some."""
    from shipper.reports.found_logs import found_below, found_in

    named = _named(options)
    findings = [found_in(one) for one in named] if named else [found_below(options.below)]
    logs = [one for each in findings for one in each.logs]
    for number, one in enumerate(logs, 1):
        print(f"{number:>3}  {one.directory:<40} {one.files:>7} files {one.size_bytes:>16,} bytes")
    for problem in (problem for each in findings for problem in each.problems):
        print(f"     {problem}")
    if not logs:
        what = f"no directory below {options.below} has rotated logs"
        raise PortError("NoLogs", what, "name one: --directory DIRECTORY")
    while not named:
        numbers = ask("Which of these, by number", "all").replace(",", " ").split()
        if numbers == ["all"]:
            break
        if all(one.isdecimal() and 1 <= int(one) <= len(logs) for one in numbers):
            return [logs[int(one) - 1] for one in dict.fromkeys(numbers)]
        print(f"numbers from 1 to {len(logs)}, or all")
    return logs


def _named(options: argparse.Namespace) -> list[str]:
    """The directories of the options; a text with a variable is left to the loader."""
    return [one if "$" in one else os.path.abspath(one) for one in options.directory or ()]


def _watches(logs: "list[FoundLogs]") -> list[dict[str, Any]]:
    import glob

    watches: list[dict[str, Any]] = []
    names: set[str] = set()
    for one in logs:
        watch: dict[str, Any] = {"directory": one.directory}
        name = os.path.basename(one.directory.rstrip("/"))
        if name in names:  # the loader wants another for each
            name = watch["name"] = one.directory.strip("/").replace("/", "-")
        names.add(name)
        if not one.recursive:
            below = [
                glob.escape(os.path.relpath(other.directory, one.directory)) for other in logs
            ]
            watch |= {
                "recursive": False,
                "exclude": [f"{each}/**" for each in below if each != "."],
            }
        watches.append({**watch, "after_upload": "keep"})
    return watches


def _require_good_options(options: argparse.Namespace, path: str) -> None:
    """Refuse before the first question what the loader would refuse after the last."""
    from shipper.config.load import ConfigError, refused_in
    from shipper.config.schema import Problem
    from shipper.core.destinations import Destination
    from shipper.core.types import Watch

    keys = ("bucket", "prefix", "region", "endpoint_url")
    given = {key: getattr(options, key) for key in keys if getattr(options, key) is not None}
    tables: list[tuple[str, dict[str, Any], type]] = [
        ("destination", {"bucket": "any", **given}, Destination),
        *(("watch", {"directory": one}, Watch) for one in _named(options)),
    ]
    problems = [
        Problem(path, f"{place}.{key}", *why)
        for place, raw, kind in tables
        for key, why in refused_in(raw, kind, os.environ).items()
    ]
    if problems:
        raise ConfigError(tuple(problems))


def _require_place(path: str) -> None:
    """Refuse before the first question what could not be written after the last."""
    above = os.path.dirname(path)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above) or not os.access(above, os.W_OK | os.X_OK):
        raise _not_written(path, f"{above} is no directory that may be written to")


def _write(path: str, text: str, *, is_told: bool) -> None:
    """Put the file there whole and readable for the daemon, if it is a good configuration.

    Raises:
        ConfigError: it is not, and nothing is written.
        PortError: ``NotWritten``; ``FileExists``, unless somebody was told to replace it.
    """
    import tempfile
    from contextlib import suppress

    place, directory = os.replace if is_told else os.link, os.path.dirname(path)
    try:
        if not os.path.isdir(directory):
            os.makedirs(directory)
            os.chmod(directory, 0o755)  # noqa: S103  (the daemon reads it, whatever the umask)
        descriptor, beside = tempfile.mkstemp(prefix=".shipper.", dir=directory)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                os.fchmod(descriptor, 0o644)
                file.flush()
                os.fsync(descriptor)
            _require_good(beside, path)
            place(beside, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(beside)
    except FileExistsError:
        raise _there(path) from None
    except OSError as error:
        raise _not_written(path, str(error.strerror)) from error


def _not_written(path: str, why: str) -> PortError:
    return PortError("NotWritten", f"{path}: {why}", "run it as root; or --output FILE")


def _require_good(written: str, path: str) -> None:
    from dataclasses import replace

    from shipper.config.load import ConfigError, load

    try:
        load(written, os.environ)
    except ConfigError as error:
        problems = tuple(replace(problem, file=path) for problem in error.problems)
        raise ConfigError(problems) from None


def _there(path: str) -> PortError:
    return PortError("FileExists", f"{path} is there", "--force replaces it; or --output FILE")

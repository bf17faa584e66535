"""The options of every command that reads a bucket, and the buckets that they name.

The bucket comes from ``--bucket``, else from a configuration: then every destination in it is
read, with the key templates of its watches. The credentials are those of whoever runs the command.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shipper.archive.buckets import KeyLayout, ReadBucket
    from shipper.core.destinations import Destination

_DEFAULT_PREFIX = "logs/"
_NAME_IT = "name it with --bucket NAME, or a configuration with --config FILE"


def add_reader_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "the bucket",
        "From --bucket, else from the configuration. It is read with your own credentials, which "
        "are found as the aws CLI finds them, but never with an EC2 instance's role.",
    )
    for flag, metavar, says in (
        ("--bucket", "NAME", "the bucket; no configuration is read"),
        ("--prefix", "TEXT", f"with --bucket: what keys begin with (default: {_DEFAULT_PREFIX})"),
        ("--region", "NAME", "its region (default: it is found)"),
        ("--profile", "NAME", "of ~/.aws/config (default: $AWS_PROFILE)"),
        ("--endpoint-url", "URL", "an S3-compatible server (default: AWS)"),
    ):
        group.add_argument(flag, metavar=metavar, help=says)


@contextmanager
def buckets_from(options: argparse.Namespace) -> "Iterator[list[ReadBucket]]":
    """The buckets that the options name, for reading; at least one. Of one bucket, there is one
    archive.

    Raises:
        PortError: ``NoBucket``, ``BadOptions``; ``NoProfile``.
        ConfigError: the configuration is wrong.
    """
    from shipper.archive.buckets import ReadBucket
    from shipper.edges.s3.archive import BucketArchive

    with ExitStack() as stack:
        archives = dict[tuple[str, str], BucketArchive]()
        found = list[ReadBucket]()
        for one, layouts in destinations_from(options).items():
            server = one.endpoint_url, one.bucket
            if server not in archives:
                own = BucketArchive(one, profile=options.profile or "")
                archives[server] = stack.enter_context(own)
            archive, every = archives[server], _with_named(layouts)
            found.append(ReadBucket(archive, one.bucket, one.prefix, every))
        yield found


def _with_named(layouts: "tuple[KeyLayout, ...]") -> "tuple[KeyLayout, ...]":
    """With those that have a name: what was shipped before a change of ``key`` keeps its keys."""
    from shipper.archive.buckets import KeyLayout
    from shipper.core.destinations import DEFAULT_KEY, LAYOUTS

    known = {(one.prefix, one.key) for one in layouts}
    prefixes = dict.fromkeys(one.prefix for one in layouts)
    named = [(prefix, key) for prefix in prefixes for key in (DEFAULT_KEY, *LAYOUTS.values())]
    return (*layouts, *(KeyLayout(*one) for one in named if one not in known))


def destinations_from(options: argparse.Namespace) -> "dict[Destination, tuple[KeyLayout, ...]]":
    """Where to look, with the key layouts there; once for each bucket and prefix.

    Raises:
        PortError: ``NoBucket``, ``BadOptions``.
        ConfigError: the configuration is wrong.
    """
    from shipper.archive.buckets import KeyLayout
    from shipper.core.destinations import LAYOUTS, Destination
    from shipper.ports import PortError

    if options.bucket is None:
        found = _configured(options)
    elif options.config is not None:
        raise PortError("BadOptions", "--bucket and --config both say where to look", _NAME_IT)
    else:
        prefix = _DEFAULT_PREFIX if options.prefix is None else options.prefix
        layouts = (KeyLayout(prefix), *(KeyLayout(prefix, key) for key in LAYOUTS.values()))
        found = {Destination(options.bucket, prefix): layouts}
    given = {
        name: value
        for name in ("region", "endpoint_url")
        if (value := getattr(options, name)) is not None
    }
    merged: dict[tuple[str, str, str], tuple[Destination, tuple[KeyLayout, ...]]] = {}
    for one, layouts in found.items():
        read = replace(one, **given)
        place = (read.endpoint_url, read.bucket, read.prefix)
        first, before = merged.get(place, (read, ()))
        merged[place] = (first, tuple(dict.fromkeys((*before, *layouts))))
    return dict(merged.values())


def _configured(options: argparse.Namespace) -> "dict[Destination, tuple[KeyLayout, ...]]":
    from shipper.archive.buckets import KeyLayout
    from shipper.config.load import DEFAULT_FILE, load
    from shipper.ports import PortError

    if options.prefix is not None:
        raise PortError("BadOptions", "--prefix goes with --bucket", _NAME_IT)
    named = options.config or os.environ.get("SHIPPER_CONFIG")
    if named is None and not os.path.exists(DEFAULT_FILE):
        raise PortError(
            "NoBucket", f"no bucket is named, and there is no {DEFAULT_FILE}", _NAME_IT
        )
    configuration = load(options.config, os.environ)
    found = {}
    for name, one in configuration.used_destinations.items():
        if "{tag:" in one.bucket:
            hint = "name the bucket with --bucket"
            raise PortError("NoBucket", f"only the instance knows its tags: {one.bucket}", hint)
        layouts = [
            KeyLayout(own.prefix, own.key, watch.name)
            for watch in configuration.watches
            if watch.destination == name
            for own in [configuration.destination_of(watch)]
        ]
        found[one] = tuple(layouts)
    return found


def expected_instances(path: str) -> list[str]:
    """The ids of ``--expect``: a file's, or those of standard input for ``-``.

    Raises:
        PortError: ``BadOptions``.
    """
    from shipper.core.fleet import instances_from
    from shipper.ports import PortError

    try:
        if path == "-":
            body = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:
                body = file.read()
    except OSError as error:
        raise PortError("BadOptions", f"--expect {path}: {error.strerror}") from error
    try:
        return instances_from(body.decode("utf-8-sig"))
    except ValueError as error:
        hint = (
            "one instance id a line, as `aws ec2 describe-instances --output text "
            "--query 'Reservations[].Instances[].[InstanceId]'` gives them"
        )
        raise PortError("BadOptions", f"--expect {path}: {error}", hint) from error

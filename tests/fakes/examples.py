"""Values to begin a test with: good ones, of which a test changes what it is about."""

from dataclasses import replace
from typing import Any

from shipper.core.types import (
    Compression,
    Entry,
    FileId,
    FileKind,
    FileStat,
    ObjectKey,
    Promise,
    RelativePath,
    Shipment,
    ShipmentId,
    WatchName,
)

A_PROMISE = Promise(
    watch=WatchName("app"),
    path=RelativePath(b"app.log.1"),
    file_id=FileId(7, 4, "head"),
    raw_start=0,
    raw_end=100,
    mtime_ns=1_764_000_000_000_000_000,
    tail_digest="tail",
    key=ObjectKey("logs/app.log.1.zst"),
    compression=Compression.ZSTD,
    sealed_because="quiet",
)
A_STAT = FileStat(7, 100, 1_000, 2_000, 1, FileKind.REGULAR)


def promise(number: int = 1, **changes: Any) -> Promise:
    """The n-th of many different promises."""
    different: dict[str, Any] = {
        "path": RelativePath(b"app.log.%d" % number),
        "file_id": FileId(number, 4, f"head{number}"),
        "key": ObjectKey(f"logs/{number}.zst"),
    }
    return replace(A_PROMISE, **(different | changes))


def shipment(**changes: Any) -> Shipment:
    """A READY shipment."""
    known = {name: getattr(A_PROMISE, name) for name in Promise.__dataclass_fields__}
    return replace(Shipment(id=ShipmentId(1), promised_at=0.0, **known), **changes)


def stat(**changes: Any) -> FileStat:
    """A regular file of 100 bytes."""
    return replace(A_STAT, **changes)


def entry(path: bytes = b"app.log.1", **changes: Any) -> Entry:
    """A directory entry of such a file."""
    return Entry(RelativePath(path), stat(**changes))

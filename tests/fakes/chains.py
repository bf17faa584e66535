"""Manifests as a daemon writes them, without a daemon: chains to verify and to damage."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import zstandard

from shipper.core.manifests import (
    SCHEMA,
    Header,
    LossEntry,
    ManifestName,
    ObjectEntry,
    line_from,
)

BEGIN = 1_780_000_000.0
HOUR = 3600.0


def iso(at: float) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def entry(key: str, raw: bytes, *, stored: bytes | None = None, at: float = BEGIN) -> ObjectEntry:
    """Of an object that holds ``stored``, by default zstd's of the raw bytes."""
    body = compressed(raw) if stored is None else stored
    return ObjectEntry(
        key=key,
        size=len(body),
        etag=hashlib.md5(body).hexdigest(),
        checksum="",
        sha256=hashlib.sha256(raw).hexdigest(),
        compression="zstd" if stored is None else "none",
        watch="app",
        path="/var/log/app/a.log",
        inode=7,
        generation="1",
        raw_start=0,
        raw_end=len(raw),
        mtime_ns=int(at * 1e9),
        first_sent=iso(at),
        last_sent=iso(at),
        sealed="quiet",
    )


def loss(key: str, kind: str = "gone", at: float = BEGIN) -> LossEntry:
    return LossEntry(kind, key, "app", "/var/log/a", 7, "1", 0, 9, 1, iso(at), "Gone", "unlinked")


def compressed(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(raw)


@dataclass
class Written:
    """A manifest as it lies in the bucket."""

    name: ManifestName
    header: Header
    body: bytes
    at: float


@dataclass
class Chain:
    """One epoch, written manifest by manifest."""

    instance: str = "i-0aa11bb22cc33dd44"
    epoch: str = "20260528T202640Z-0badcafe"
    prefix: str = "logs/"
    began: float = BEGIN
    begins: str = "a new journal"
    before: str = ""
    before_number: int = 0
    before_sha256: str = ""
    interval: int = 3600
    written: list[Written] = field(default_factory=list)

    @property
    def to(self) -> float:
        return self.written[-1].at if self.written else self.began

    def write(
        self,
        *entries: ObjectEntry | LossEntry,
        after: float = HOUR,
        because: str = "interval",
    ) -> Written:
        """The next one, ``after`` so many seconds."""
        last = self.written[-1] if self.written else None
        number = len(self.written) + 1
        at = self.to + after
        header = Header(
            schema=SCHEMA,
            instance=self.instance,
            epoch=self.epoch,
            number=number,
            from_=iso(self.to),
            to=iso(at),
            previous=hashlib.sha256(last.body).hexdigest() if last else "",
            begins="" if last else self.begins,
            before="" if last else self.before,
            before_number=0 if last else self.before_number,
            before_sha256="" if last else self.before_sha256,
            because=because,
            interval_seconds=self.interval,
            destination="default",
            version="1.0",
            configuration="0" * 64,
            entries=len(entries),
        )
        name = ManifestName(self.prefix, self.instance, self.epoch, number)
        self.written.append(Written(name, header, body_of(header, entries), at))
        return self.written[-1]

    def write_idle(self, count: int) -> None:
        for _ in range(count):
            self.write()


def body_of(header: Header, entries: Sequence[ObjectEntry | LossEntry] = ()) -> bytes:
    return compressed(b"".join(map(line_from, (header, *entries))))


def rewritten(one: Written, **changes: object) -> Written:
    """The same manifest without its entries, with another header."""
    header = replace(one.header, entries=0, **changes)  # type: ignore[arg-type]
    return replace(one, header=header, body=body_of(header))


def objects_of(*chains: Chain) -> Iterator[tuple[str, bytes, float]]:
    """Keys, bodies and times of the manifests."""
    for chain in chains:
        for one in chain.written:
            yield one.name.key, one.body, one.at

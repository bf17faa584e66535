"""A fleet's bucket as a directory: what hosts shipped, and the manifests that say so.

Keys, entries and headers are made by the program's own code; only the hosts are made up.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import zstandard

from shipper.core.destinations import DEFAULT_KEY
from shipper.core.manifests import (
    SCHEMA,
    Header,
    LossEntry,
    ManifestName,
    ObjectEntry,
    line_from,
)
from shipper.core.object_keys import InstanceFacts, fact, object_key
from shipper.core.types import Compression, FileId, Promise, RelativePath, WatchName
from tests.fakes.examples import promise


def instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def nanoseconds(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000_000


@dataclass
class Host:
    """One instance, in one epoch."""

    root: Path
    instance: str
    began: datetime
    key: str = DEFAULT_KEY
    prefix: str = "logs/"
    began_how: str = "a new journal"
    entries: list[ObjectEntry | LossEntry] = field(default_factory=list)
    number: int = 0
    previous: str = ""
    said_until: datetime | None = None

    @property
    def epoch(self) -> str:
        return f"{self.began:%Y%m%dT%H%M%SZ}-{hashlib.md5(self.instance.encode()).hexdigest()[:8]}"

    def ships(
        self,
        watch: str,
        name: str,
        at: datetime,
        body: bytes = b"a line\n",
        *,
        start: int = 0,
        inode: int = 7,
        generation: str = "g1",
        is_time_known: bool = True,
    ) -> ObjectEntry:
        """Put the object there, and remember it for the next manifest."""
        made = self._promise(watch, name, at, start, start + len(body), inode, generation)
        stored = zstandard.compress(body)
        path = self.root / made.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored)
        entry = ObjectEntry(
            key=made.key,
            size=len(stored),
            etag=hashlib.md5(stored).hexdigest(),
            checksum="",
            sha256=hashlib.sha256(body).hexdigest(),
            compression="zstd",
            watch=watch,
            path=f"/var/log/{watch}/{name}",
            inode=inode,
            generation=generation,
            raw_start=start,
            raw_end=start + len(body),
            mtime_ns=made.mtime_ns,
            first_sent=instant(at + timedelta(minutes=1)) if is_time_known else "",
            last_sent=instant(at + timedelta(minutes=2)) if is_time_known else "",
            sealed="no writer",
        )
        self.entries.append(entry)
        return entry

    def loses(self, watch: str, name: str, at: datetime, loss: str = "gone") -> LossEntry:
        """Remember what was promised and is not there."""
        made = self._promise(watch, name, at, 0, 100, 7, "g1")
        entry = LossEntry(
            loss=loss,
            key=made.key,
            watch=watch,
            path=f"/var/log/{watch}/{name}",
            inode=7,
            generation="g1",
            raw_start=0,
            raw_end=100,
            mtime_ns=made.mtime_ns,
            at=instant(at),
            code="SourceVanished",
            detail='it\'s "gone"',
        )
        self.entries.append(entry)
        return entry

    def says(self, until: datetime, because: str = "interval", *, is_written: bool = True) -> None:
        """Write the manifest of what came since the one before."""
        self.number += 1
        header = Header(
            schema=SCHEMA,
            instance=fact(self.instance),
            epoch=self.epoch,
            number=self.number,
            from_=instant(self.said_until or self.began),
            to=instant(until),
            previous=self.previous,
            begins=self.began_how if self.number == 1 else "",
            before="",
            before_number=0,
            before_sha256="",
            because=because,
            interval_seconds=3600,
            destination="",
            version="1.0",
            configuration="c0ffee",
            entries=len(self.entries),
        )
        stored = zstandard.compress(b"".join(map(line_from, [header, *self.entries])))
        name = ManifestName(self.prefix, fact(self.instance), self.epoch, self.number)
        path = self.root / name.key
        if is_written:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(stored)
        self.previous = hashlib.sha256(stored).hexdigest()
        self.said_until, self.entries = until, []

    def says_daily(self, days: Iterable[datetime]) -> None:
        for day in days:
            self.says(day)

    def _promise(
        self,
        watch: str,
        name: str,
        at: datetime,
        start: int,
        end: int,
        inode: int,
        generation: str,
    ) -> Promise:
        facts = InstanceFacts(prefix=self.prefix, instance_id=self.instance)
        made = promise(
            watch=WatchName(watch),
            path=RelativePath(name.encode()),
            file_id=FileId(inode, 4, name, generation),
            raw_start=start,
            raw_end=end,
            mtime_ns=nanoseconds(at),
            compression=Compression.ZSTD,
        )
        return replace(made, key=object_key(self.key, facts, made))

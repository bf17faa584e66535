"""What heartbeats know of manifests, and what lies among them and is none."""

from collections.abc import Iterator

from shipper.archive.buckets import ReadBucket
from shipper.archive.stored_manifests import UNREADABLE
from shipper.core.chains import seconds, time_text
from shipper.core.epochs import Word
from shipper.core.findings import Code, Finding
from shipper.core.heartbeats import (
    DIRECTORY,
    MOST_BYTES,
    Heartbeat,
    NoHeartbeat,
    decoded,
    millisecond,
    name_from_key,
)
from shipper.core.types import ObjectKey
from shipper.ports import PortError


class HeartbeatWords:
    """Of one bucket. The newest heartbeat of each instance counts, whatever kind of key it has."""

    def __init__(self, bucket: ReadBucket) -> None:
        self._bucket = bucket
        self._newest: dict[str, tuple[float, ObjectKey]] = {}

    def find(self, since: float, wanted: frozenset[str]) -> Iterator[Finding]:
        """List them, those of hours from ``since`` on; of all instances if none is wanted.

        What is no heartbeat is a finding.
        """
        top = f"{self._bucket.prefix}{DIRECTORY}"
        after = f"{top}hour={millisecond(since)[:13]}" if since else ""
        for stored in self._bucket.archive.listed(top, after=after):
            name = name_from_key(self._bucket.prefix, stored.key)
            if name is None and not wanted:
                stray = "it lies among heartbeats and is none"
                yield Finding(Code.STRAY_KEY, "", stored.key, stray)
            if name is None or (wanted and name.instance not in wanted):
                continue
            before = self._newest.get(name.instance)
            if before is None or before[0] <= stored.modified_at:
                self._newest[name.instance] = stored.modified_at, stored.key

    def of(self, instance: str) -> list[Word]:
        """What the newest one of the instance says of manifests here."""
        _, key = self._newest.get(instance, (0.0, None))
        heartbeat = self._read(key) if key is not None else None
        if heartbeat is None:
            return []
        try:
            at = seconds(heartbeat.at)
        except ValueError:
            return []
        who = f"the heartbeat of {time_text(at)}"
        here = f"/{self._bucket.name}/{self._bucket.prefix}"
        return [
            Word(one.epoch, one.manifest, one.manifest_sha256, who, at)
            for one in heartbeat.destinations
            if one.manifest and one.address.endswith(here)
        ]

    def _read(self, key: ObjectKey) -> Heartbeat | None:
        body = bytearray()
        try:
            for piece in self._bucket.archive.read(key):
                body += piece
                if len(body) > MOST_BYTES:
                    break
            return decoded(bytes(body))
        except NoHeartbeat:
            return None
        except PortError as error:
            if error.code not in UNREADABLE:
                raise
            return None

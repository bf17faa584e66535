"""What ``shipper audit --manifests`` costs: ``python -m tests.performance.proof [--objects N]``.

Entries are in another order than keys. Manifests lie in files, which another process wrote, and
the listing is made as it is read. Printed are the process's peak of memory, before and after, and
CPU and wall seconds, of which making the listing is a part that is told apart.
"""

import argparse
import hashlib
import math
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from shipper.archive.audited_chains import Scope
from shipper.archive.buckets import KeyLayout, ReadBucket
from shipper.archive.entry_spill import EntrySpill
from shipper.archive.proof import Proof
from shipper.core.archived import ArchivedObject
from shipper.core.chains import Limits
from shipper.core.manifests import ManifestName, ObjectEntry
from shipper.core.types import ETag, ObjectKey
from shipper.edges.decoder import streamed
from shipper.ports import PortError
from tests.fakes.chains import BEGIN, Chain, entry

CHAIN = Chain()
MOST_ENTRIES = 10_000
STEP = 7919
"""A prime: every so many-th object is the next one that was verified."""
TEMPLATE = entry("logs/", b"a line\n" * 100)


def key_of(at: int) -> ObjectKey:
    return ObjectKey(
        f"logs/app/{CHAIN.instance}/dt=2026-05-28/access.log.20260528T202640Z.{at:012}.zst"
    )


def etag_of(at: int) -> ETag:
    return ETag(hashlib.md5(str(at).encode()).hexdigest())


def entries(first: int, objects: int) -> list[ObjectEntry]:
    order = (at * STEP % objects for at in range(first, min(first + MOST_ENTRIES, objects)))
    return [replace(TEMPLATE, key=key_of(at), etag=etag_of(at)) for at in order]


def write_manifests(directory: Path, objects: int) -> None:
    for number in range(math.ceil(objects / MOST_ENTRIES)):
        one = CHAIN.write(*entries(number * MOST_ENTRIES, objects), because="full", after=60)
        (directory / str(one.name.number)).write_bytes(one.body)


class MadeArchive:
    """``ports.Archive`` of so many objects, of which every ``missing``-th is not there."""

    def __init__(self, directory: Path, objects: int, missing: int) -> None:
        self._directory = directory
        self._objects = objects
        self._missing = missing

    def listed(self, prefix: str, *, after: str = "") -> Iterator[ArchivedObject]:
        if "_manifests/" not in prefix:
            for at in range(self._objects):
                if at % self._missing:
                    yield ArchivedObject(key_of(at), TEMPLATE.size, etag_of(at), BEGIN + 1)
            return
        for number in range(1, math.ceil(self._objects / MOST_ENTRIES) + 1):
            name = ManifestName(CHAIN.prefix, CHAIN.instance, CHAIN.epoch, number)
            yield ArchivedObject(name.key, 1, ETag(""), BEGIN + 60 * number)

    def directories(self, prefix: str) -> Iterator[str]:
        yield f"logs/_manifests/instance={CHAIN.instance}/"

    def read(self, key: ObjectKey, *, start: int = 0) -> Iterator[bytes]:
        if "_fleet/" in key:
            raise PortError("NoSuchKey", key)
        number = int(key.rpartition("/")[2].partition(".")[0])
        yield (self._directory / str(number)).read_bytes()

    def metadata(self, key: ObjectKey) -> Mapping[str, str]:
        return {}


def used() -> tuple[float, float]:
    """MiB at the peak, and CPU seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def audit(directory: Path, objects: int, missing: int) -> None:
    archive = MadeArchive(directory, objects, missing)
    _, begin = used()
    for _ in archive.listed("logs/"):
        pass
    before_mib, before = used()
    began = time.monotonic()
    bucket = ReadBucket(archive, "made", "logs/", (KeyLayout("logs/"),))
    with EntrySpill() as spill:
        now = BEGIN + 60 * math.ceil(objects / MOST_ENTRIES)
        proof = Proof(bucket, Scope(Limits(now, 900.0)), streamed, spill)
        found = sum(1 for _ in proof.findings())
    wall = time.monotonic() - began
    mib, after = used()
    print(f"{proof.counts.entries:,} entries in {proof.counts.manifests} manifests; {found} found")
    print(f"peak memory {mib:.0f} MiB, before {before_mib:.0f} MiB")
    print(
        f"CPU {after - before:.1f} s, the listing {before - begin:.1f} s of it; wall {wall:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--missing", type=int, default=100_000, help="every so many-th")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        where = Path(directory)
        writer = multiprocessing.get_context("spawn").Process(
            target=write_manifests, args=(where, options.objects)
        )
        writer.start()
        writer.join()
        audit(where, options.objects, options.missing)


if __name__ == "__main__":
    main()

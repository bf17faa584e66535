"""Sends one segment: one conditional PUT if it fits into a part, else a multipart upload.

Raw bytes are read once, in order, from one descriptor. A resumed upload reads what S3 has again,
for the digest of the whole, but does not send it; it compresses it again only to compare it, where
the file was written to meanwhile.
"""

import itertools
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from operator import attrgetter

from shipper.core.concurrency import SMALL_BYTES
from shipper.core.lifecycle import ObjectStored, WriteIntended
from shipper.core.parts import Gap, part_size_for
from shipper.core.types import FileStat, Receipt, Shipment, State, StoredObject
from shipper.ports import Encoder, ObjectStore, PortError, Source
from shipper.services.sending.lost_answers import LostAnswers
from shipper.services.sending.multipart import MultipartUploads
from shipper.services.sending.part_cutter import Part, PartCutter, Parts
from shipper.services.sending.progress import Progress
from shipper.services.sending.retry import RetryPolicy
from shipper.services.sources.reading import SegmentReader, require_unchanged


@dataclass(frozen=True, slots=True)
class Sent:
    """A stored segment; ``is_confirmed`` when S3 echoed the checksum of the whole.

    ``shipment`` is as its row is now: an upload may have been opened for it.
    """

    shipment: Shipment
    stored: ObjectStored
    is_confirmed: bool


@dataclass(kw_only=True)
class Sender:
    """Sends segments; safe to share between threads."""

    store: ObjectStore
    encoder: Encoder
    part_cutter: PartCutter
    uploads: MultipartUploads
    retry_policy: RetryPolicy
    lost_answers: LostAnswers
    part_size_bytes: int
    progress: Progress
    now: Callable[[], float]
    """Wall time."""

    async def send(
        self,
        shipment: Shipment,
        source: Source,
        before: FileStat,
        *,
        level: int,
        metadata: dict[str, str],
    ) -> Sent:
        """Send a READY segment, or what is left of an UPLOADING one.

        ``before`` is the source's stat. Where its mtime is not that with which the upload was
        begun, the parts that S3 has are made again, and compared.

        Raises:
            PortError: S3's or the file's; ``SourceChanged`` when the bytes are not stable.
            Stopping: parts in flight have finished and are journalled.
        """
        reader = SegmentReader(source, shipment.raw_start, self.encoder, self.progress.tick)
        if shipment.state is State.UPLOADING:
            missing = self.uploads.missing(shipment)
            is_touched = before.mtime_ns != shipment.mtime_ns
            doubted = self.uploads.receipts(shipment) if is_touched else []
            with closing(self._cut(missing, doubted, reader, shipment, level)) as parts:
                self.uploads.send(shipment, parts)
            return await self._complete(shipment, reader, before)
        part_size = part_size_for(shipment.raw_bytes, self.part_size_bytes)
        everything = Gap(1, None, shipment.raw_start, shipment.raw_end)
        with closing(
            self.part_cutter.parts(reader, everything, shipment, part_size, level)
        ) as parts:
            first = next(parts)
            if first.raw_end == shipment.raw_end:
                parts.close()  # which lets go of what it was made from
                return await self._put(shipment, first, reader, before, metadata)
            try:
                shipment = await self.uploads.open(shipment, part_size, metadata)
            except BaseException:
                self.part_cutter.let_go(first)
                raise
            everything_cut = itertools.chain([first], parts)
            del first  # its memory is free as soon as it is sent
            self.uploads.send(shipment, everything_cut)
        return await self._complete(shipment, reader, before)

    def _cut(
        self,
        missing: Iterable[Gap],
        doubted: Iterable[Receipt],
        reader: SegmentReader,
        shipment: Shipment,
        level: int,
    ) -> Parts:
        """What is missing. What is doubted is read with it, in order: so all are bytes of one
        file at one time, if the reader's are.

        Raises:
            PortError: ``UploadExpired``; a part that S3 has is of other bytes.
        """
        checksums = {one.number: one.checksum for one in doubted}
        again = (Gap(one.number, one.number, one.raw_start, one.raw_end) for one in doubted)
        for gap in sorted([*missing, *again], key=attrgetter("raw_start")):
            parts = self.part_cutter.parts(reader, gap, shipment, shipment.part_size, level)
            if gap.first_number not in checksums:
                yield from parts
                continue
            for part in parts:
                self.part_cutter.let_go(part)
                if not part.checksum or part.checksum != checksums[part.number]:
                    raise PortError("UploadExpired", "the log is another one by now")

    async def _complete(self, shipment: Shipment, reader: SegmentReader, before: FileStat) -> Sent:
        reader.skip_to(shipment.raw_end)
        require_unchanged(reader, before, shipment)
        raw_sha256 = reader.sha256.hexdigest()
        return self._sent(*await self.uploads.complete(shipment, raw_sha256))

    async def _put(
        self,
        shipment: Shipment,
        part: Part,
        reader: SegmentReader,
        before: FileStat,
        metadata: dict[str, str],
    ) -> Sent:
        size_bytes, etag = len(part.body), self.lost_answers.etag_of(shipment, part.body)
        try:
            require_unchanged(reader, before, shipment)
            intent = WriteIntended(etag, size_bytes, reader.sha256.hexdigest(), self.now())
            shipment = await self.lost_answers.intend(shipment, intent)
            try:
                await self.lost_answers.require_free(shipment)
                answer = await self.retry_policy(
                    lambda: self.store.put(
                        shipment.key,
                        part.body,
                        checksum=part.checksum,
                        metadata=metadata | {"raw-sha256": shipment.raw_sha256},
                        watch=shipment.watch,
                    ),
                    is_small=size_bytes <= SMALL_BYTES,
                )
                self.lost_answers.learn(shipment, answer.etag, etag, is_echoed=answer.confirmed)
            except PortError as error:
                if error.code == "ConditionalRequestConflict":
                    raise PortError("OperationAborted", error.detail, error.hint) from error
                answer, size_bytes = await self.lost_answers.recovered(shipment, error)
        finally:
            self.part_cutter.let_go(part)
        return self._sent(shipment, answer, size_bytes, part.checksum)

    def _sent(
        self, shipment: Shipment, answer: StoredObject, size_bytes: int, checksum: str
    ) -> Sent:
        self.progress.passed(shipment.key)
        is_echoed = answer.confirmed and checksum
        echoed = f"{self.store.algorithm}:{checksum}" if is_echoed else ""
        raw_sha256, now = shipment.raw_sha256, self.now()
        stored = ObjectStored(answer.etag, size_bytes, raw_sha256, echoed, now)
        return Sent(shipment, stored, answer.confirmed)

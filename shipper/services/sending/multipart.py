"""A multipart upload: opened, sent in parallel parts, completed.

A part's receipt is in the journal before anything trusts it.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, as_completed, wait
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from shipper.core.checksums import full_object_checksum, is_from, multipart_etag
from shipper.core.destinations import etags_are_md5
from shipper.core.lifecycle import UploadOpened, WriteIntended, has_lapsed
from shipper.core.parts import Gap, gaps
from shipper.core.types import ETag, Receipt, Shipment, StoredObject, UploadId
from shipper.journal.journal import Journal
from shipper.ports import ObjectStore, PortError
from shipper.services.sending.abandoned_uploads import abort
from shipper.services.sending.lost_answers import LostAnswers
from shipper.services.sending.part_cutter import Part, PartCutter
from shipper.services.sending.progress import Progress
from shipper.services.sending.retry import RetryPolicy
from shipper.services.sending.tasks import Task, recorded


@dataclass(kw_only=True)
class MultipartUploads:
    """Sends parts; safe to share between threads. ``now`` is wall time."""

    journal: Journal
    store: ObjectStore
    part_cutter: PartCutter
    retry_policy: RetryPolicy
    lost_answers: LostAnswers
    executor: Executor
    concurrent_parts: int
    run: Callable[[Task[tuple[str, str]]], tuple[str, str]]
    """Carries a task to its end."""
    progress: Progress
    now: Callable[[], float]
    log: Any

    async def open(self, shipment: Shipment, part_size: int, metadata: dict[str, str]) -> Shipment:
        """Open an upload for the READY shipment, which is UPLOADING then."""
        upload = await self.retry_policy(
            lambda: self.store.create_upload(shipment.key, metadata=metadata, watch=shipment.watch)
        )
        self.progress.passed(shipment.key)
        event = UploadOpened(upload.upload_id, part_size, upload.abort_at, self.now())
        opened = await recorded(shipment, event)
        self.log.debug("upload.opened", key=shipment.key, part_size_bytes=part_size)
        return opened

    def missing(self, shipment: Shipment) -> list[Gap]:
        """What S3 does not have yet of the UPLOADING shipment.

        Raises:
            PortError: ``UploadExpired``; the upload cannot be resumed.
        """
        receipts = self.journal.receipts(shipment)
        if shipment.part_size < 1:
            raise PortError("UploadExpired", "the journal has no part size for it")
        if not all(is_from(self.store.algorithm, receipt.checksum) for receipt in receipts):
            raise PortError("UploadExpired", "it was begun with another checksum algorithm")
        found = gaps(receipts, shipment.raw_start, shipment.raw_end)
        if found and has_lapsed(shipment, self.now()):
            raise PortError("UploadExpired", "the bucket's rule may abort it at any moment")
        return found

    def receipts(self, shipment: Shipment) -> list[Receipt]:
        """What S3 has of the upload."""
        return self.journal.receipts(shipment)

    def send(self, shipment: Shipment, parts: Iterable[Part]) -> None:
        """Send the parts, several at once; when this returns or raises, none is under way."""
        pending: set[Future[None]] = set()
        try:
            for part in parts:
                pending.add(
                    self.executor.submit(copy_context().run, self._send_part, shipment, part)
                )
                del part  # its memory is free as soon as it is sent
                if len(pending) >= self.concurrent_parts:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    self.progress.moved()
                    _raise_first(done)
        finally:
            for _ in as_completed(pending):
                self.progress.moved()
        _raise_first(pending)

    async def complete(
        self, shipment: Shipment, raw_sha256: str
    ) -> tuple[Shipment, StoredObject, int, str]:
        """Complete the upload, of which every part is stored: its row, the object, its size and
        its checksum.

        Raises:
            PortError: ``UploadExpired``; it is unusable. Else as ``LostAnswers.recovered``.
        """
        upload_id = _upload_id(shipment)
        receipts = self.journal.receipts(shipment)
        sizes = [(receipt.checksum, receipt.stored_bytes) for receipt in receipts]
        checksum = full_object_checksum(self.store.algorithm, sizes)
        size_bytes = sum(receipt.stored_bytes for receipt in receipts)
        is_md5 = etags_are_md5(self.store.encryption(shipment.watch))
        computed = _computed_etag(receipts) if is_md5 else ETag("")
        intent = WriteIntended(computed, size_bytes, raw_sha256, self.now())
        shipment = await self.lost_answers.intend(shipment, intent)
        try:
            await self.lost_answers.require_free(shipment)
            answer = await self.retry_policy(
                lambda: self.store.complete_upload(
                    shipment.key, upload_id, receipts, checksum=checksum
                )
            )
        except PortError as error:
            if error.code == "BadDigest":
                raise PortError("UploadExpired", error.detail, error.hint) from error
            answer, size_bytes = await self.lost_answers.recovered(shipment, error)
            if error.code == "PreconditionFailed":  # sent twice: the parts are of no use
                abort(self.store, shipment.key, upload_id, log=self.log)
        stored = StoredObject(answer.etag or computed, answer.confirmed)
        return shipment, stored, size_bytes, checksum

    def _send_part(self, shipment: Shipment, part: Part) -> None:
        upload_id, size_bytes = _upload_id(shipment), len(part.body)

        def check(answer: tuple[str, str]) -> None:
            etag, echoed = answer
            # An MD5 costs more than all else. One of an upload tells what ETags mean here.
            is_needed = not echoed or part.number == 1
            own = self.lost_answers.etag_of(shipment, part.body) if is_needed else ""
            self.lost_answers.learn(shipment, etag, own, is_echoed=bool(echoed))
            self.lost_answers.require_intact(shipment, etag, own, is_echoed=bool(echoed))

        def begin() -> Future[tuple[str, str]]:
            return self.store.upload_part(
                shipment.key, upload_id, part.number, part.body, checksum=part.checksum
            )

        try:
            etag, _ = self.run(self.retry_policy(begin, check))
            receipt = Receipt(
                part.number, part.raw_start, part.raw_end, size_bytes, ETag(etag), part.checksum
            )
            self.journal.receive(shipment, receipt)
        except PortError as error:
            if error.code == "NoSuchUpload":  # it cannot have been completed: begin a new one
                raise PortError("UploadExpired", error.detail, error.hint) from error
            raise
        finally:
            self.part_cutter.let_go(part)
        self.progress.passed(shipment.key)
        self.log.debug("part.stored", key=shipment.key, part=part.number, stored_bytes=size_bytes)


def _upload_id(shipment: Shipment) -> UploadId:
    assert shipment.upload_id is not None
    return shipment.upload_id


def _computed_etag(receipts: Iterable[Receipt]) -> ETag:
    """Empty where a part's ETag is no MD5 (SSE-KMS)."""
    try:
        return multipart_etag(receipt.etag for receipt in receipts)
    except ValueError:
        return ETag("")


def _raise_first(futures: Iterable[Future[None]]) -> None:
    for future in futures:
        future.result()

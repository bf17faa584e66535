"""Sending one segment: frames into parts, parts to S3, receipts into the journal.

Raw bytes are read once, in order, from one descriptor. A part is cut after a whole frame, so a
resumed upload goes on at a raw offset: what S3 has is read again (for the digest of the whole)
but neither compressed nor sent. Parts travel in parallel; the budget bounds what they weigh.
"""

import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, as_completed, wait
from contextlib import closing, suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from shipper.core.checksums import full_object_checksum, is_from, multipart_etag, single_etag
from shipper.core.failures import Verdict, judge
from shipper.core.lifecycle import ObjectStored, UploadOpened, has_lapsed
from shipper.core.parts import Gap, gaps, part_size_for
from shipper.core.types import ETag, FileStat, ListedObject, Receipt, Shipment, State, StoredObject
from shipper.journal.journal import Journal
from shipper.ports import Encoder, ObjectStore, PortError, Source, Stopping
from shipper.services.sending.gate import ByteBudget
from shipper.services.sending.part_cutter import Part, PartCutter, Parts, Raw, require_unchanged
from shipper.services.sending.retry import RetryPolicy


class ETags:
    """What is known of the bucket's ETags, shared by whoever compares; one field, set once."""

    def __init__(self, store: ObjectStore) -> None:
        self._are_md5: bool | None = None if store.etag_is_md5 else False
        """None until a write has told."""

    def learn(self, etag: str, body: memoryview) -> None:
        """Take what S3 answered to a write of ``body``."""
        if self._are_md5 is None:
            self._are_md5 = etag == single_etag(body)

    def agree(self, found: ListedObject, size_bytes: int, computed: Iterable[str]) -> bool:
        """Whether the object is the one of this size and one of these ETags.

        Where ETags tell nothing, its key and its size must.
        """
        if found.size_bytes != size_bytes:
            return False
        return self._are_md5 is False or (found.etag != "" and found.etag in computed)

    def require_decided(self, shipment: Shipment) -> None:
        """An object is as long as ours and has another ETag: does that mean anything?

        Raises:
            PortError: ``ObjectUndecided``; nothing was written yet that told, and it has not been
                waited for often enough.
        """
        if self._are_md5 is None and shipment.attempts < UNDECIDED_ATTEMPTS:
            raise PortError("ObjectUndecided", "waits for a write that tells what ETags are here")


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of it; ``is_confirmed`` when S3 echoed the checksum of the whole.

    ``shipment`` is as its row is now: an upload may have been opened for it.
    """

    shipment: Shipment
    stored: ObjectStored
    is_confirmed: bool


class Sender:
    """Sends segments; safe to share between threads.

    ``passed`` is called after every write that S3 accepted, ``progress`` after every frame that
    was read; ``now`` is wall time; ``is_stopping`` is asked before every part and within a long
    read.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        store: ObjectStore,
        encoder: Encoder,
        part_cutter: PartCutter,
        budget: ByteBudget,
        retry_policy: RetryPolicy,
        executor: Executor,
        etags: ETags,
        part_size_bytes: int,
        concurrent_parts: int,
        is_stopping: Callable[[], bool],
        passed: Callable[[], None],
        progress: Callable[[], None],
        now: Callable[[], float],
        log: Any,
    ) -> None:
        self._journal = journal
        self._store = store
        self._encoder = encoder
        self._part_cutter = part_cutter
        self._budget = budget
        self._retry_policy = retry_policy
        self._executor = executor
        self._part_size_bytes = part_size_bytes
        self._concurrent_parts = concurrent_parts
        self._is_stopping = is_stopping
        self._passed = passed
        self._progress = progress
        self._now = now
        self._log = log
        self._etags = etags

    def send(
        self, shipment: Shipment, source: Source, *, level: int, metadata: dict[str, str]
    ) -> Sent:
        """Send a READY segment, or what is left of an UPLOADING one.

        Raises:
            PortError: S3's or the file's; ``SourceChanged`` when the bytes are not stable.
            Stopping: parts in flight have finished and are journalled.
        """
        before = source.stat()
        raw = Raw(source, shipment, self._encoder, self.tick)
        if shipment.state is State.UPLOADING:
            with closing(self._cut_missing(raw, shipment, level)) as parts:
                self._send_parts(shipment, parts)
            return self._complete(shipment, raw, before)
        part_size = part_size_for(shipment.raw_bytes, self._part_size_bytes)
        everything = Gap(1, None, shipment.raw_start, shipment.raw_end)
        with closing(
            self._part_cutter.parts(raw, everything, shipment, part_size, level)
        ) as parts:
            first = next(parts)
            if first.raw_end == shipment.raw_end:
                return self._put(shipment, first, raw, before, metadata)
            shipment = self._open_upload(shipment, first, part_size, metadata)
            everything_cut = itertools.chain([first], parts)
            del first  # its memory is free as soon as it is sent
            self._send_parts(shipment, everything_cut)
        return self._complete(shipment, raw, before)

    def tick(self) -> None:
        """A long read goes on.

        Raises:
            Stopping: it should not.
        """
        self._progress()
        if self._is_stopping():
            raise Stopping

    def _cut_missing(self, raw: Raw, shipment: Shipment, level: int) -> Parts:
        receipts = self._journal.receipts(shipment)
        if not all(is_from(self._store.algorithm, receipt.checksum) for receipt in receipts):
            raise PortError("UploadExpired", "it was begun with another checksum algorithm")
        missing = gaps(receipts, shipment.raw_start, shipment.raw_end)
        if missing and has_lapsed(shipment, self._now()):
            raise PortError("UploadExpired", "the bucket's rule may abort it at any moment")
        for gap in missing:
            yield from self._part_cutter.parts(raw, gap, shipment, shipment.part_size, level)

    def _open_upload(
        self, shipment: Shipment, first: Part, part_size: int, metadata: dict[str, str]
    ) -> Shipment:
        try:
            upload = self._retry_policy(
                lambda: self._store.create_upload(shipment.key, metadata=metadata)
            )
            self._passed()
            event = UploadOpened(upload.upload_id, part_size, upload.abort_at)
            opened = self._journal.record(shipment, event)
        except BaseException:
            self._let_go(first)
            raise
        self._log.debug("upload.opened", key=shipment.key, part_size_bytes=part_size)
        return opened

    def _send_parts(self, shipment: Shipment, parts: Iterable[Part]) -> None:
        pending: set[Future[None]] = set()
        try:
            for part in parts:
                pending.add(
                    self._executor.submit(copy_context().run, self._send_part, shipment, part)
                )
                del part  # its memory is free as soon as it is sent
                if len(pending) >= self._concurrent_parts:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    self._progress()
                    _raise_first(done)
        finally:
            for _ in as_completed(pending):
                self._progress()
        _raise_first(pending)

    def _send_part(self, shipment: Shipment, part: Part) -> None:
        assert shipment.upload_id is not None
        upload_id = shipment.upload_id
        try:
            etag, _ = self._retry_policy(
                lambda: self._store.upload_part(
                    shipment.key, upload_id, part.number, part.body, checksum=part.checksum
                )
            )
            self._etags.learn(etag, part.body)
            size_bytes = len(part.body)
            self._journal.receive(
                shipment,
                Receipt(
                    part.number,
                    part.raw_start,
                    part.raw_end,
                    size_bytes,
                    ETag(etag),
                    part.checksum,
                ),
            )
        except PortError as error:
            if error.code == "NoSuchUpload":  # it cannot have been completed: begin a new one
                raise PortError("UploadExpired", error.detail, error.hint) from error
            raise
        finally:
            self._let_go(part)
        self._passed()
        self._log.debug("part.stored", key=shipment.key, part=part.number, stored_bytes=size_bytes)

    def _complete(self, shipment: Shipment, raw: Raw, before: FileStat) -> Sent:
        assert shipment.upload_id is not None
        upload_id = shipment.upload_id
        raw.skip_to(shipment.raw_end)
        require_unchanged(raw.source, before, shipment)
        receipts = self._journal.receipts(shipment)
        sizes = [(receipt.checksum, receipt.stored_bytes) for receipt in receipts]
        checksum = full_object_checksum(self._store.algorithm, sizes)
        size_bytes = sum(receipt.stored_bytes for receipt in receipts)
        computed = self._computed_etag(receipts)
        try:
            answer = self._retry_policy(
                lambda: self._store.complete_upload(
                    shipment.key, upload_id, receipts, checksum=checksum
                )
            )
        except PortError as error:
            if error.code == "BadDigest":
                raise PortError("UploadExpired", error.detail, error.hint) from error
            answer = self._look(shipment, size_bytes, computed, error)
        return self._sent(shipment, raw, answer.etag or computed, size_bytes, answer.confirmed)

    def _put(
        self,
        shipment: Shipment,
        part: Part,
        raw: Raw,
        before: FileStat,
        metadata: dict[str, str],
    ) -> Sent:
        size_bytes = len(part.body)
        try:
            require_unchanged(raw.source, before, shipment)
            try:
                answer = self._retry_policy(
                    lambda: self._store.put(
                        shipment.key, part.body, checksum=part.checksum, metadata=metadata
                    )
                )
                self._etags.learn(answer.etag, part.body)
            except PortError as error:
                if error.code == "ConditionalRequestConflict":
                    raise PortError("OperationAborted", error.detail, error.hint) from error
                answer = self._look(shipment, size_bytes, single_etag(part.body), error)
        finally:
            self._let_go(part)
        return self._sent(shipment, raw, answer.etag, size_bytes, answer.confirmed)

    def _let_go(self, part: Part) -> None:
        """Let another part have its memory, whoever still refers to it."""
        with suppress(BufferError):  # a failed request has it in its hands a moment longer
            part.body.release()
        self._budget.give_back(part.reserved_bytes, part.lent)

    def _look(
        self, shipment: Shipment, size_bytes: int, computed: str, error: PortError
    ) -> StoredObject:
        """Was it our own write whose answer got lost? Then the object is there and is equal."""
        if judge(error.code, error.status) is not Verdict.CHECK_STORE:
            raise error
        found = self._retry_policy(lambda: self._store.find(shipment.key))
        if found is None:
            is_upload_lost = error.code == "NoSuchUpload"
            code = "UploadExpired" if is_upload_lost else "OperationAborted"
            raise PortError(code, error.detail, error.hint) from error
        if not self._etags.agree(found, size_bytes, (computed,)):
            if found.size_bytes == size_bytes:
                self._etags.require_decided(shipment)
            detail = f"{found.size_bytes} bytes with ETag {found.etag or 'unknown'} are there"
            raise PortError("KeyTaken", detail) from error
        self._log.info("answer.recovered", key=shipment.key, code=error.code)
        return StoredObject(found.etag, confirmed=False)

    def _sent(
        self, shipment: Shipment, raw: Raw, etag: str, size_bytes: int, is_confirmed: bool
    ) -> Sent:
        self._passed()
        stored = ObjectStored(ETag(etag), size_bytes, raw.sha256.hexdigest(), raw.crc32)
        return Sent(shipment, stored, is_confirmed)

    def _computed_etag(self, receipts: Iterable[Receipt]) -> str:
        try:
            return multipart_etag(receipt.etag for receipt in receipts)
        except ValueError:
            return ""


def _raise_first(futures: Iterable[Future[None]]) -> None:
    for future in futures:
        future.result()


UNDECIDED_ATTEMPTS = 5
"""So often an object of the right size is looked at again before it is called another's."""

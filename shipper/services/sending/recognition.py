"""Did a journal that was lost ship this already? Then it is recognised, and not sent again.

A file that may be older than the journal is looked for under its key before its first byte goes
out. The key alone is no proof: what would be sent is made once more, here, with the same cuts, and
must be as long as what is there and have its ETag (where ETags tell nothing, the length must do).

A compressed file may be what a rotator made of a log that was shipped before; then what it holds
is made again, and compared with the objects of that name and time. There the key tells too little,
so only an ETag is proof.

A new instance with a large backlog has no predecessor. One listing below what all its keys begin
with shows that, and the journal remembers it.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from shipper.core.birth import may_be_older
from shipper.core.checksums import CutStream, parts_of
from shipper.core.lifecycle import ObjectStored
from shipper.core.object_keys import InstanceFacts, before_digest, common_prefix, extension_of
from shipper.core.parts import (
    FRAME_BYTES,
    LIKELY_PART_SIZES,
    part_size_for,
    part_sizes_giving,
)
from shipper.core.rotated_names import stem_and_extension
from shipper.core.types import (
    Compression,
    ListedObject,
    ObjectKey,
    Shipment,
    Watch,
    WatchName,
)
from shipper.journal.journal import Journal
from shipper.ports import Encoder, ObjectStore, PortError, Source
from shipper.services.sending.compressor import Compressor, Encoded
from shipper.services.sending.gate import ByteBudget
from shipper.services.sending.part_cutter import Raw, require_unchanged
from shipper.services.sending.proving import Ticking
from shipper.services.sending.retry import RetryPolicy
from shipper.services.sending.sender import ETags

CHEAP_BYTES = 16 * FRAME_BYTES
"""Up to here a file is compressed at every level, if need be: seconds, and only until then."""
CHEAP_LEVELS = range(1, 10)
MOST_RATIO = 1000
"""By which an original may have been compressed; what holds more is not read to its end."""
SAME_NAME_AND_TIME = 100
"""So many objects with a compressed file's name and time may be its original."""


@dataclass(frozen=True, slots=True)
class _Made:
    """What would be sent: how long it is, and its ETag for every likely size of a part."""

    length: int
    etags: frozenset[str]


class Recognition:
    """Compares files with what the bucket has. Several workers may share one.

    ``tick`` is called for every frame that was read; whatever it raises ends the comparison. What
    is kept in memory are facts that hold for good, so no lock guards them.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        store: ObjectStore,
        encoder: Encoder,
        encoding: Compressor,
        budget: ByteBudget,
        retry_policy: RetryPolicy,
        etags: ETags,
        part_size_bytes: int,
        key_template: str,
        facts: InstanceFacts,
        tick: Callable[[], None],
        log: Any,
    ) -> None:
        self._journal = journal
        self._store = store
        self._encoder = encoder
        self._compressor = encoding
        self._budget = budget
        self._retry_policy = retry_policy
        self._etags = etags
        self._part_size_bytes = part_size_bytes
        self._key_template = key_template
        self._facts = facts
        self._tick = tick
        self._log = log
        self._inhabited: set[str] = set()
        """Prefixes below which there was something."""
        self._levels: dict[WatchName, tuple[int, ...]] = {}
        """At which levels the watch's logs were compressed, as far as they were recognised."""

    def recognise(self, shipment: Shipment, source: Source, watch: Watch) -> ObjectStored | None:
        """The READY shipment as S3 has it already; None when it has to be sent.

        Raises:
            PortError: S3's or the file's. ``NotRecognised``: another object has the key, or it
                was made with settings unlike the present ones; ``KeyTaken``: and an operator has
                asked for another look. ``ObjectUndecided``: nobody can tell yet.
        """
        if not self._may_be_there(shipment):
            return None
        found = self._retry_policy(lambda: self._store.find(shipment.key))
        if found is None:
            return None
        before, lengths = source.stat(), set()
        is_cheap = shipment.raw_bytes <= CHEAP_BYTES
        for level in self._levels_of(watch, CHEAP_LEVELS if is_cheap else ()):
            raw = Raw(source, shipment, self._encoder, self._tick)
            frames = raw.frames(shipment.raw_end)
            encoded = self._compressor.frames(
                frames, shipment.compression, level, raw.digest_piece
            )
            made = self._made_again(encoded, [found], shipment.raw_bytes)
            require_unchanged(source, before, shipment)
            if self._etags.agree(found, made.length, made.etags):
                self._levels[watch.name] = self._levels_of(watch, (level,))
                self._log.info("object.recognised", shipment=shipment.id, key=shipment.key)
                return ObjectStored(found.etag, made.length, raw.sha256.hexdigest(), raw.crc32)
            lengths.add(made.length)
            if shipment.compression is Compression.NONE:
                break
        raise self._unlike(shipment, found, is_as_long=found.size_bytes in lengths)

    def original(self, shipment: Shipment, source: Source, watch: Watch) -> ObjectKey | None:
        """The object of which the compressed file is a copy; None when none is proven.

        Raises:
            PortError: S3's or the file's.
        """
        listed = self._of_same_name_and_time(shipment, watch)
        before = source.stat()
        try:
            for level in self._levels_of(watch) if listed else ():
                longest = max(found.size_bytes for found in listed)
                frames = self._unpacked(shipment, source, limit_bytes=MOST_RATIO * longest)
                encoded = self._compressor.frames(frames, watch.compression, level)
                made = self._made_again(encoded, listed)
                for found in listed:
                    if found.size_bytes == made.length and found.etag in made.etags:
                        require_unchanged(source, before, shipment)
                        self._log.info("object.recognised", shipment=shipment.id, key=found.key)
                        return found.key
        except PortError as error:
            if error.code not in ("Undecodable", "ContentTooLong"):
                raise
        return None

    def _of_same_name_and_time(self, shipment: Shipment, watch: Watch) -> list[ListedObject]:
        beginning = before_digest(shipment)
        if not beginning or not self._may_be_there(shipment):
            return []
        page = self._retry_policy(lambda: self._store.page(beginning, limit=SAME_NAME_AND_TIME))
        return [found for found in page if found.key.endswith(extension_of(watch.compression))]

    def _unpacked(
        self, shipment: Shipment, source: Source, *, limit_bytes: int
    ) -> Iterator[bytes]:
        """What the compressed file holds, in the frames in which it would be sent."""
        extension = stem_and_extension(shipment.path).extension.decode()
        rest = bytearray()
        ticking = Ticking(source, self._tick)
        for piece in self._encoder.decoded(ticking, extension, limit_bytes=limit_bytes):
            self._tick()
            rest += piece
            while len(rest) >= FRAME_BYTES:
                yield bytes(rest[:FRAME_BYTES])
                del rest[:FRAME_BYTES]
        if rest:
            yield bytes(rest)

    def _may_be_there(self, shipment: Shipment) -> bool:
        origin = self._journal.origin
        if not may_be_older(shipment, origin.born_at()):
            return False
        prefix = common_prefix(self._key_template, self._facts, watch=shipment.watch)
        if origin.was_empty(prefix):
            return False
        if prefix not in self._inhabited:
            if not self._retry_policy(lambda: self._store.page(prefix, limit=1)):
                origin.found_empty(prefix)
                return False
            self._inhabited.add(prefix)
        return True

    def _levels_of(self, watch: Watch, others: Iterable[int] = ()) -> tuple[int, ...]:
        """The present level first, then those of the watch's other logs, then these; each once."""
        known = self._levels.get(watch.name, ())
        return tuple(dict.fromkeys((watch.compression_level, *known, *others)))

    def _made_again(
        self,
        frames: Generator[Encoded, None, None],
        listed: Sequence[ListedObject],
        raw_bytes: int = 0,
    ) -> _Made:
        """What would be sent, unless it gets longer than all that are listed."""
        settings = (self._part_size_bytes, *LIKELY_PART_SIZES)
        likely = [part_size_for(raw_bytes, wanted) for wanted in settings]
        part_sizes = {
            size
            for found in listed
            for size in part_sizes_giving(parts_of(found.etag), found.size_bytes, likely)
        }
        streams = [CutStream(size) for size in part_sizes]
        length, longest = 0, max(found.size_bytes for found in listed)
        reserved = self._budget.take(3 * FRAME_BYTES)
        try:
            with closing(frames):
                for frame in frames:
                    length += len(frame.body)
                    if length > longest:
                        break
                    for stream in streams:
                        stream.add(frame.body)
        finally:
            self._budget.give_back(reserved)
        return _Made(length, frozenset(stream.etag() for stream in streams))

    def _unlike(self, shipment: Shipment, found: ListedObject, *, is_as_long: bool) -> PortError:
        """What to say of an object that is there and is not what would be sent now."""
        was_asked_again = shipment.code == "NotRecognised"
        if is_as_long and not was_asked_again:
            self._etags.require_decided(shipment)
        detail = f"{found.size_bytes} bytes with ETag {found.etag or 'unknown'} are there"
        return PortError("KeyTaken" if was_asked_again else "NotRecognised", detail)

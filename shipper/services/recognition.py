"""Did a journal that was lost ship this already? Then it is recognised, and not sent again.

A file that may be older than the journal is looked for under its key before its first byte goes
out. The key alone is no proof: what would be sent is made once more, here, with the same cuts, and
must be as long as what is there and have its ETag (where ETags tell nothing, the length must do).

A new instance with a large backlog has no predecessor. One listing below what all its keys begin
with shows that, and the journal remembers it.
"""

from collections.abc import Callable
from typing import Any

from shipper.core.birth import may_be_older
from shipper.core.checksums import CutStream, parts_of
from shipper.core.keys import Place, common_prefix
from shipper.core.lifecycle import ObjectStored
from shipper.core.parts import (
    FRAME_BYTES,
    LIKELY_PART_SIZES,
    part_size_for,
    part_sizes_giving,
)
from shipper.core.types import Compression, ListedObject, Shipment, Watch, WatchName
from shipper.journal import Journal
from shipper.ports import Encoder, ObjectStore, PortError, Source
from shipper.services.etags import ETags
from shipper.services.gate import ByteBudget
from shipper.services.patience import Patience
from shipper.services.raw import Raw, require_unchanged

CHEAP_BYTES = 16 * FRAME_BYTES
"""Up to here a file is compressed at every level, if need be: seconds, and only until then."""
CHEAP_LEVELS = range(1, 10)


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
        budget: ByteBudget,
        patience: Patience,
        etags: ETags,
        part_size_bytes: int,
        key_template: str,
        place: Place,
        tick: Callable[[], None],
        log: Any,
    ) -> None:
        self._journal = journal
        self._store = store
        self._encoder = encoder
        self._budget = budget
        self._patience = patience
        self._etags = etags
        self._part_size_bytes = part_size_bytes
        self._key_template = key_template
        self._place = place
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
        found = self._patience(lambda: self._store.find(shipment.key))
        if found is None:
            return None
        before = source.stat()
        lengths = set()
        for level in self._likely_levels(shipment, watch):
            raw = Raw(source, shipment, self._tick)
            stored_bytes, etags = self._made_again(raw, shipment, level, found)
            require_unchanged(source, before, shipment)
            if self._etags.agree(found, stored_bytes, etags):
                self._levels[watch.name] = _first(level, *self._levels.get(watch.name, ()))
                self._log.info("object.recognised", shipment=shipment.id, key=shipment.key)
                return ObjectStored(found.etag, stored_bytes, raw.sha256.hexdigest(), raw.crc32)
            lengths.add(stored_bytes)
        raise self._unlike(shipment, found, is_as_long=found.size_bytes in lengths)

    def _may_be_there(self, shipment: Shipment) -> bool:
        origin = self._journal.origin
        if not may_be_older(shipment, origin.born_at()):
            return False
        prefix = common_prefix(self._key_template, self._place, watch=shipment.watch)
        if origin.was_empty(prefix):
            return False
        if prefix not in self._inhabited:
            if not self._patience(lambda: self._store.page(prefix, limit=1)):
                origin.found_empty(prefix)
                return False
            self._inhabited.add(prefix)
        return True

    def _likely_levels(self, shipment: Shipment, watch: Watch) -> tuple[int, ...]:
        """The present level first, then those of the watch's other logs, then all, if cheap."""
        if shipment.compression is Compression.NONE:
            return (watch.compression_level,)
        others = CHEAP_LEVELS if shipment.raw_bytes <= CHEAP_BYTES else ()
        return _first(watch.compression_level, *self._levels.get(watch.name, ()), *others)

    def _made_again(
        self, raw: Raw, shipment: Shipment, level: int, found: ListedObject
    ) -> tuple[int, list[str]]:
        """How long the object would be, and its ETag for each likely size of a part."""
        sizes = (
            part_size_for(shipment.raw_bytes, wanted)
            for wanted in (self._part_size_bytes, *LIKELY_PART_SIZES)
        )
        parts = part_sizes_giving(parts_of(found.etag), found.size_bytes, sizes)
        streams = [CutStream(size) for size in parts]
        length = 0
        reserved = self._budget.take(2 * FRAME_BYTES)
        try:
            while raw.at < shipment.raw_end:
                frame = raw.read_frame(shipment.raw_end)
                encoded = self._encoder.frame(frame, shipment.compression, level)
                length += len(encoded)
                for stream in streams:
                    stream.add(encoded)
        finally:
            self._budget.give_back(reserved)
        return length, [stream.etag() for stream in streams]

    def _unlike(self, shipment: Shipment, found: ListedObject, *, is_as_long: bool) -> PortError:
        """What to say of an object that is there and is not what would be sent now."""
        was_asked_again = shipment.code == "NotRecognised"
        if is_as_long and not was_asked_again:
            self._etags.require_decided(shipment)
        detail = f"{found.size_bytes} bytes with ETag {found.etag or 'unknown'} are there"
        return PortError("KeyTaken" if was_asked_again else "NotRecognised", detail)


def _first(*levels: int) -> tuple[int, ...]:
    """The levels in this order, each once."""
    return tuple(dict.fromkeys(levels))

"""What a host's carrier works with where bytes would be read or sent."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from shipper.core.intents import Likeness
from shipper.core.lifecycle import ObjectStored, SourceDisposed
from shipper.core.types import AfterUpload, ObjectKey, Shipment, ShipmentId, StoredObject, Watch
from shipper.ports import PortError
from shipper.services.credentials import CredentialKeeper
from shipper.services.sending.gate import Gate
from shipper.services.sending.retry import RetryPolicy
from shipper.services.sending.sender import Sent
from tests.performance.fleet.bucket import Bucket
from tests.performance.fleet.timeline import Timeline


@dataclass(frozen=True, slots=True)
class _Source:
    mtime_ns: int

    def stat(self) -> "_Source":
        return self


@dataclass(kw_only=True)
class Fakes:
    """``ObjectStore``, ``SourceLookup``, ``HeldFiles``, ``Duplicates``, ``Sender``,
    ``LostAnswers``, ``Losses`` and ``Disposal`` in one, as far as a carrier asks them."""

    timeline: Timeline
    bucket: Bucket
    share: float
    """Where in the range of all instance ids this one is."""
    keeper: CredentialKeeper
    gate: Gate
    retry_policy: RetryPolicy

    @contextlib.contextmanager
    def source(self, shipment: Shipment, watch: Watch) -> Iterator[Any]:
        yield _Source(shipment.mtime_ns)

    @contextlib.contextmanager
    def found(self, *args: object, **kwargs: object) -> Iterator[None]:
        yield None

    async def send(self, shipment: Shipment, *args: object, **kwargs: object) -> Sent:
        """As ``Sender`` sends what fits into one part."""
        answer = await self.retry_policy(partial(self._put, shipment.key), is_small=True)
        self.gate.passed(shipment.key)
        return Sent(shipment, ObjectStored(answer.etag, 1, "sha"), answer.confirmed)

    def _put(self, key: ObjectKey) -> Future[StoredObject]:
        return self.bucket.put(self.share, key, self.keeper.current())

    def find(self, key: ObjectKey) -> Future[Any]:
        return self.bucket.find(self.share, key, self.keeper.current())

    @property
    def lost_answers(self) -> "Fakes":
        return self

    def compare(self, *args: object) -> Likeness:
        return Likeness.SAME

    def is_proven(self, *args: object) -> bool:
        return True

    def removes(self, shipment: Shipment, watch: Watch) -> bool:
        return watch.after_upload is not AfterUpload.KEEP

    def dispose(self, shipment: Shipment, watch: Watch) -> SourceDisposed:
        return SourceDisposed(self.timeline.now(), is_removed=self.removes(shipment, watch))

    def drop(self, number: ShipmentId) -> None:
        """``HeldFiles`` holds nothing here."""

    def event(self, shipment: Shipment, watch: Watch, error: PortError) -> Any:
        raise error

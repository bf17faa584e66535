"""A bucket that answers writes of whole objects when it is told to, in whatever order."""

from collections.abc import Callable
from concurrent.futures import Future
from random import Random
from typing import Any

from shipper.core.types import ObjectKey, StoredObject
from tests.fakes.store import FakeStore


class PendingStore:
    """Everything but ``put`` is the bucket's."""

    def __init__(self, bucket: FakeStore) -> None:
        self._bucket = bucket
        self.pending: list[tuple[Future[StoredObject], Callable[[], Future[StoredObject]]]] = []
        self.most = 0
        """How many were under way at once at most."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bucket, name)

    def put(self, key: ObjectKey, body: Any, **more: Any) -> Future[StoredObject]:
        future: Future[StoredObject] = Future()
        self.pending.append((future, lambda: self._bucket.put(key, body, **more)))
        self.most = max(self.most, len(self.pending))
        return future

    def answer(self, rng: Random | None = None) -> None:
        """Do one of what is under way and answer it: the oldest, or any."""
        number = rng.randrange(len(self.pending)) if rng else 0
        future, put = self.pending.pop(number)
        answer = put()
        if error := answer.exception():
            future.set_exception(error)
        else:
            future.set_result(answer.result())

    def lose(self, rng: Random) -> None:
        """Do some of what is under way, and answer none of it: nobody listens any more."""
        for _, put in self.pending:
            if rng.random() < 0.5:
                put()
        self.pending.clear()

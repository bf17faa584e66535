"""The bucket and STS as models.

S3 promises 3,500 writes and 5,500 reads a second for a partitioned prefix, and that it scales
gradually. The model: a partition is a range of instance ids, which is what tells keys of the
default layout apart; a fresh prefix is one partition. A partition is a token bucket for each kind
of request, which holds a tenth of a second. What is above that is answered with 503 at once, and
takes nothing of the capacity. Once all partitions together have refused something in each of
``split_seconds`` seconds, each splits in two. AWS publishes no figure for that time.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from random import Random
from typing import Any

from shipper.core.types import ETag, ListedObject, ObjectKey, RoleCredentials, StoredObject
from shipper.ports import PortError
from tests.performance.fleet.timeline import Timeline

PUTS_A_SECOND, LISTS_A_SECOND = 3500.0, 5500.0
BURST_SECONDS = 0.1
ANSWER_SECONDS = (0.1, 0.2)
"""What a small object takes: AWS's own figure."""
REFUSAL_SECONDS = (0.02, 0.05)
CONNECT_SECONDS = 5.0
"""After so long a host that answers nothing is unreachable."""


@dataclass(frozen=True, slots=True)
class BucketModel:
    puts_a_second: float = PUTS_A_SECOND
    """Of one partition."""
    lists_a_second: float = LISTS_A_SECOND
    split_seconds: float = 900.0
    outages: Sequence[tuple[float, float]] = ()


@dataclass(slots=True)
class Tokens:
    """A token bucket."""

    a_second: float
    left: float = 0.0
    at: float = 0.0

    def take(self, now: float) -> bool:
        most = max(1.0, self.a_second * BURST_SECONDS)
        self.left = min(most, self.left + (now - self.at) * self.a_second)
        self.at = now
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True


@dataclass
class Traffic:
    """What was asked for, by second and outcome: ``put``, ``list``, their ``503``, and others."""

    seconds: dict[str, Counter[int]] = field(default_factory=dict)

    def count(self, outcome: str, now: float) -> None:
        self.seconds.setdefault(outcome, Counter())[int(now)] += 1

    def total(self, *outcomes: str) -> int:
        return sum(self.seconds.get(one, Counter()).total() for one in outcomes)

    def peak(self, *outcomes: str) -> int:
        """The most in a second, of all these outcomes together."""
        together: Counter[int] = Counter()
        for one in outcomes:
            together.update(self.seconds.get(one, {}))
        return max(together.values(), default=0)


class Bucket:
    """Answers each host's store with a future, after a while."""

    def __init__(self, model: BucketModel, timeline: Timeline, rng: Random) -> None:
        self._model, self._timeline, self._rng = model, timeline, rng
        self.traffic = Traffic()
        self.partitions = 1
        self._tokens: dict[tuple[str, int], Tokens] = {}
        self._refusing: set[int] = set()
        self.stored: dict[ObjectKey, float] = {}
        """When each object was stored."""
        self.tries: Counter[ObjectKey] = Counter()
        """How often S3 was asked to store it."""

    def put(self, share: float, key: ObjectKey, credentials: RoleCredentials) -> Future[Any]:
        """``share`` says where in the range of all instance ids its instance is."""
        self.tries[key] += 1
        return self._answer("put", share, credentials, lambda: self._store(key))

    def find(self, share: float, key: ObjectKey, credentials: RoleCredentials) -> Future[Any]:
        return self._answer("list", share, credentials, lambda: self._listed(key))

    def _store(self, key: ObjectKey) -> StoredObject:
        if key in self.stored:
            raise PortError("PreconditionFailed", "it is there", status=412)
        self.stored[key] = self._timeline.seconds
        return StoredObject(ETag("etag"), confirmed=True)

    def _listed(self, key: ObjectKey) -> ListedObject | None:
        return ListedObject(key, 1, ETag("etag")) if key in self.stored else None

    def _answer(
        self,
        kind: str,
        share: float,
        credentials: RoleCredentials,
        effect: Callable[[], object],
    ) -> Future[Any]:
        answer: Future[Any] = Future()
        now = self._timeline.seconds
        problem, seconds = self._problem(kind, share, credentials, now)
        self._traffic(kind, problem, now)

        def arrive() -> None:
            if problem is not None:
                answer.set_exception(problem)
                return
            try:
                answer.set_result(effect())
            except PortError as error:
                answer.set_exception(error)

        self._timeline.after(seconds, arrive)
        return answer

    def _traffic(self, kind: str, problem: PortError | None, now: float) -> None:
        code = "" if problem is None else f" {problem.status or problem.code}"
        self.traffic.count(kind + code, now)

    def _problem(
        self, kind: str, share: float, credentials: RoleCredentials, now: float
    ) -> tuple[PortError | None, float]:
        """What is wrong with the request, and the seconds until it is answered."""
        if any(begin <= now < end for begin, end in self._model.outages):
            return PortError("Unreachable", "no answer"), CONNECT_SECONDS
        refusal = self._rng.uniform(*REFUSAL_SECONDS)
        if credentials.expires_at <= self._timeline.now():
            return PortError("ExpiredToken", "expired", status=400), refusal
        model = self._model
        rate = model.puts_a_second if kind == "put" else model.lists_a_second
        which = kind, int(share * self.partitions)
        if self._tokens.setdefault(which, Tokens(rate, at=now)).take(now):
            return None, self._rng.uniform(*ANSWER_SECONDS)
        self._strain(int(now))
        return PortError("SlowDown", "reduce your request rate", status=503), refusal

    def _strain(self, second: int) -> None:
        self._refusing.add(second)
        if len(self._refusing) >= self._model.split_seconds:
            self._refusing.clear()
            self.partitions *= 2
            self._tokens.clear()

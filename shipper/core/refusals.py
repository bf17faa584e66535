"""What a refusal holds back: the fewest keys that explain it, learned from what passes. Pure.

A key that S3 refuses waits longer each time. Once several refused keys begin alike and nothing
that begins so has passed, all keys that begin so are held: one of them is tried now and then. A
refusal of what every request says (an ACL, a tag) holds everything after the second key in a row;
if a trial then passes, the code depends on the key after all, and is treated like the others.

Nothing here knows a policy. What passes corrects a wrong guess, and what is held in error costs
a few seconds, because the trials come quickly at first.
"""

from collections import deque
from dataclasses import dataclass, replace

from shipper.core.failures import depends_on_key

ALIKE = 3
"""So many refused keys with a common beginning are no coincidence."""
ALIKE_SETTINGS = 2
FIRST_WAIT_SECONDS = 60.0
LONGEST_WAIT_SECONDS = 300.0
"""Of a key that is refused again and again, while others pass."""
FIRST_TRIAL_SECONDS = 0.5
LONGEST_TRIAL_SECONDS = 60.0
FORGOTTEN_AFTER_SECONDS = 3 * LONGEST_WAIT_SECONDS
"""A key that was not refused for so long is not there any more."""
REFRESH_SECONDS = 600.0
"""Credentials are blamed for a refusal this often, and the policy otherwise."""
MOST_KEYS = 1000
MOST_PASSED = 256
MOST_HOLDS = 32
_MOST_DOUBLINGS = 10


@dataclass(frozen=True, slots=True)
class Refused:
    """A key that S3 refused ``times`` in a row; ``at`` is monotonic, as every time here."""

    key: str
    code: str
    detail: str
    hint: str
    times: int
    at: float


@dataclass(frozen=True, slots=True)
class Hold:
    """Keys that begin with ``prefix`` wait; the next of them is tried at ``trial_at``."""

    prefix: str
    refused: Refused
    trials: int
    trial_at: float

    @property
    def mark(self) -> str:
        """Why a key waits that was not tried itself."""
        which = f"keys that begin with {self.prefix}" if self.prefix else "all keys"
        return f"held, for {which} are refused"


class Refusals:
    """What was refused and what passed lately, bounded. For one thread at a time."""

    def __init__(self) -> None:
        self._refused: dict[str, Refused] = {}
        self._passed: deque[str] = deque(maxlen=MOST_PASSED)
        self._holds: dict[str, Hold] = {}
        self._fresh: set[str] = set()
        self._of_keys: set[str] = set()
        self._refresh_at = 0.0

    @property
    def fresh(self) -> int:
        """How many keys were refused for the first time since a write was accepted."""
        return len(self._fresh)

    @property
    def has_passed(self) -> bool:
        return bool(self._passed)

    @property
    def has_refused(self) -> bool:
        return bool(self._refused)

    @property
    def latest(self) -> Refused:
        """The last refusal; there is one while ``fresh`` is not 0."""
        return next(reversed(self._refused.values()))

    def refuse(self, refused: Refused) -> Hold | None:
        """Note a refusal; what is held because of it. ``refused.times`` is counted here."""
        key, known = refused.key, self._refused.pop(refused.key, None)
        if known is None and len(self._fresh) < MOST_KEYS:
            self._fresh.add(key)
        refused = replace(refused, times=1 if known is None else known.times + 1)
        self._refused[key] = refused
        if len(self._refused) > MOST_KEYS:
            self._refused.pop(next(iter(self._refused)))
        held = self._holding(key)
        prefix = self._explaining(refused)
        if prefix is None and held is None:
            return None
        trials = held.trials + 1 if held is not None else 0
        if held is not None and (prefix is None or not held.prefix.startswith(prefix)):
            prefix = held.prefix
        assert prefix is not None
        wait = min(
            LONGEST_TRIAL_SECONDS, FIRST_TRIAL_SECONDS * 2.0 ** min(trials, _MOST_DOUBLINGS)
        )
        hold = Hold(prefix, refused, trials, refused.at + wait)
        self._holds = {p: h for p, h in self._holds.items() if not p.startswith(prefix)}
        self._holds[prefix] = hold
        if len(self._holds) > MOST_HOLDS:
            self._holds.pop(next(iter(self._holds)))
        return hold

    def accept(self, key: str) -> list[tuple[str, str]]:
        """Note that a write of this key passed; the prefixes that are held no longer.

        With each, what the rows say that go on now: the mark of those that were not tried; all,
        as the empty text, where a key that was refused passes now.
        """
        self._fresh.clear()
        is_mended = self._refused.pop(key, None) is not None
        if not self._passed or self._passed[-1] != key:
            self._passed.append(key)
        lifted = [hold for hold in self._holds.values() if key.startswith(hold.prefix)]
        for hold in lifted:
            del self._holds[hold.prefix]
            if not hold.prefix and not is_mended and len(self._of_keys) < MOST_HOLDS:
                self._of_keys.add(hold.refused.code)
        return [(hold.prefix, "" if is_mended else hold.mark) for hold in lifted]

    def hold_of(self, key: str, now: float) -> Hold | None:
        """What keeps the key from being sent now; None where it may go, on trial or not."""
        hold = self._holding(key)
        if hold is None or now < hold.trial_at:
            return hold
        self._holds[hold.prefix] = replace(hold, trial_at=now + LONGEST_TRIAL_SECONDS)
        return None

    def wait_seconds(self, key: str) -> float:
        """How long the refused key waits while others pass."""
        known = self._refused.get(key)
        doublings = min(known.times - 1 if known is not None else 0, _MOST_DOUBLINGS)
        return min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0**doublings)

    def blames_credentials(self, now: float) -> bool:
        """Whether the credentials are to be refreshed before the policy is blamed."""
        is_due = now >= self._refresh_at
        if is_due:
            self._refresh_at = now + REFRESH_SECONDS
        return is_due

    def forget(self) -> None:
        """There are other credentials: what they may do is not known."""
        self._holds.clear()
        self._fresh.clear()
        self._refused = {key: replace(one, times=0) for key, one in self._refused.items()}

    def standing(self, now: float) -> list[tuple[int, Refused]]:
        """What is refused now: for each code how many keys, and the latest of them."""
        oldest = now - FORGOTTEN_AFTER_SECONDS
        self._refused = {key: one for key, one in self._refused.items() if one.at >= oldest}
        by_code: dict[str, tuple[int, Refused]] = {}
        for one in self._refused.values():
            by_code[one.code] = (by_code.get(one.code, (0, one))[0] + 1, one)
        return list(by_code.values())

    def _holding(self, key: str) -> Hold | None:
        return next((h for prefix, h in self._holds.items() if key.startswith(prefix)), None)

    def _explaining(self, refused: Refused) -> str | None:
        """The beginning that explains the refusal; None where one key is all that is known."""
        if not depends_on_key(refused.code) and refused.code not in self._of_keys:
            return "" if len(self._fresh) >= ALIKE_SETTINGS else None
        beginning = self._beginning_without_success(refused.key)
        alike = [key for key in self._refused if key.startswith(beginning)]
        if len(alike) < ALIKE:
            return None
        first, last = min(alike), max(alike)
        return first[: _shared(first, last)]

    def _beginning_without_success(self, key: str) -> str:
        """The shortest beginning of the key with which no accepted key begins."""
        shared = max((_shared(key, one) for one in self._passed), default=-1)
        return key[: shared + 1]


def _shared(one: str, other: str) -> int:
    """How many characters two keys have in common at their beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    shorter = min(len(one), len(other))
    return next((index for index, (a, b) in pairs if a != b), shorter)

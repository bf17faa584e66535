"""What a refusal holds back: the fewest keys that explain it, learned from what passes. Pure.

A key that S3 refuses waits by itself, longer each time. What several refused keys have in common
(directories and words, wherever they stand), and no key that passed, explains the refusals: all
keys that have it are held, and one of them is tried now and then. A refusal of what every request
says (an ACL, a tag) holds everything after the second key in a row; if a trial then passes, the
code depends on the key after all, and is treated like the others.

Nothing here knows a policy. What passes corrects a wrong guess, and what is held in error costs
a moment, because the trials come quickly at first.
"""

import re
from collections import Counter, deque
from dataclasses import dataclass, replace
from functools import lru_cache

from shipper.core.failures import depends_on_key

ALIKE = 3
"""So many refused keys that have something in common are no coincidence."""
COINCIDENCE = 0.5
"""If it is likelier than this, it is chance that no key that passed has it in common with them."""
ALIKE_SETTINGS = 2
FIRST_WAIT_SECONDS = 60.0
LONGEST_WAIT_SECONDS = 300.0
"""Of a key that is refused again and again, while others pass."""
SECONDS_EACH = 1.0
"""Refused keys wait at least so long for each of them: together they are one request a second."""
FIRST_TRIAL_SECONDS = 0.05
LONGEST_TRIAL_SECONDS = 60.0
NEW_KEY_SECONDS = 1.0
"""A key that nothing is known about is tried at once, if the last trial was so long ago."""
FORGOTTEN_AFTER_SECONDS = 3 * LONGEST_WAIT_SECONDS
"""A key that was not refused for so long is not there any more."""
REFRESH_SECONDS = 600.0
"""Credentials are blamed for a refusal this often, and the policy otherwise."""
MOST_KEYS = 1000
MOST_PASSED = 256
MOST_HOLDS = 32
_MOST_DOUBLINGS = 12
_WORD = re.compile(r"[\W_][^\W\d_]+|(?=[a-fA-F]*[^\W\d_a-fA-F])[^\W\d_]{3,}")
"""Letters behind a separator; elsewhere no fewer than three, and none that a digest may spell."""

Pieces = frozenset[str]
"""Texts that a key contains; a key has them if it contains all."""


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
    """Keys with all ``pieces`` wait; the next of them is tried at ``trial_at``."""

    pieces: Pieces
    pattern: str
    """The pieces for people, and a star for what stands between."""
    refused: Refused
    trials: int
    tried_at: float
    trial_at: float

    @property
    def mark(self) -> str:
        """Why a key waits that was not tried itself."""
        which = f"keys like {self.pattern}" if self.pieces else "all keys"
        return f"held, for {which} are refused"

    def has(self, key: str) -> bool:
        return has_all(key, self.pieces)


class Refusals:
    """What was refused and what passed lately, bounded. For one thread at a time."""

    def __init__(self) -> None:
        self._refused: dict[str, Refused] = {}
        self._passed: deque[str] = deque(maxlen=MOST_PASSED)
        self._holds: dict[Pieces, Hold] = {}
        self._fresh: set[str] = set()
        self._of_keys: set[str] = set()
        self._refresh_at = 0.0

    @property
    def fresh(self) -> int:
        """How many keys were refused unexpectedly since a write was accepted.

        For the first time, that is, and not on trial for others that are held.
        """
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
        held = self._holding(key)
        if known is None and held is None and len(self._fresh) < MOST_KEYS:
            self._fresh.add(key)
        refused = replace(refused, times=1 if known is None else known.times + 1)
        self._refused[key] = refused
        if len(self._refused) > MOST_KEYS:
            self._refused.pop(next(iter(self._refused)))
        pieces = self._explaining(refused)
        if held is not None and (pieces is None or not pieces < held.pieces):
            pieces = held.pieces
        if pieces is None:
            return None
        trials = held.trials + 1 if held is not None else 0
        is_same = held is not None and held.pieces == pieces
        pattern = held.pattern if held is not None and is_same else _pattern(key, pieces)
        wait = FIRST_TRIAL_SECONDS * 2.0 ** min(trials, _MOST_DOUBLINGS)
        trial_at = refused.at + min(LONGEST_TRIAL_SECONDS, wait)
        hold = Hold(pieces, pattern, refused, trials, refused.at, trial_at)
        self._holds = {each: h for each, h in self._holds.items() if not each >= pieces}
        self._holds[pieces] = hold
        if len(self._holds) > MOST_HOLDS:
            self._holds.pop(next(iter(self._holds)))
        return hold

    def accept(self, key: str) -> tuple[bool, list[Hold]]:
        """Note that a write of this key passed.

        Whether it was refused before, so that something is mended; and what is held no longer.
        """
        self._fresh.clear()
        is_mended = self._refused.pop(key, None) is not None
        if not self._passed or self._passed[-1] != key:
            self._passed.append(key)
        lifted = [hold for hold in self._holds.values() if hold.has(key)]
        for hold in lifted:
            del self._holds[hold.pieces]
            if not hold.pieces and not is_mended and len(self._of_keys) < MOST_HOLDS:
                self._of_keys.add(hold.refused.code)
        return is_mended, lifted

    def hold_of(self, key: str, now: float, *, is_new: bool = False) -> Hold | None:
        """What keeps the key from being sent now; None where it may go, on trial or not.

        ``is_new`` says that nothing is known about it.
        """
        hold = self._holding(key)
        if hold is None:
            return None
        is_early = is_new and bool(hold.pieces) and now >= hold.tried_at + NEW_KEY_SECONDS
        if now < hold.trial_at and not is_early:
            return hold
        trial_at = now + LONGEST_TRIAL_SECONDS
        self._holds[hold.pieces] = replace(hold, tried_at=now, trial_at=trial_at)
        return None

    def wait_seconds(self, key: str, *, passes: bool = True) -> float:
        """How long the refused key waits; if nothing ``passes``, one is tried in a minute."""
        known, keys = self._refused.get(key), len(self._refused)
        doublings = min(known.times - 1 if known is not None else 0, _MOST_DOUBLINGS)
        longest = LONGEST_WAIT_SECONDS if passes else keys * FIRST_WAIT_SECONDS
        wait = min(LONGEST_WAIT_SECONDS, longest, FIRST_WAIT_SECONDS * 2.0**doublings)
        return max(wait, min(keys * SECONDS_EACH, FORGOTTEN_AFTER_SECONDS / 2))

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
        return next((hold for hold in self._holds.values() if hold.has(key)), None)

    def _explaining(self, refused: Refused) -> Pieces | None:
        """The pieces that explain the refusal; None where one key is all that is known.

        As many as there are that enough refused keys have, and no key that passed.
        """
        if not depends_on_key(refused.code) and refused.code not in self._of_keys:
            return frozenset() if len(self._fresh) >= ALIKE_SETTINGS else None
        own = _pieces(refused.key)
        shared = Counter(own & _pieces(key) for key in self._refused)
        for pieces in sorted(shared, key=len, reverse=True):
            alike = sum(keys for others, keys in shared.items() if others >= pieces)
            chance = (1 - alike / len(self._refused)) ** max(1, len(self._passed))
            if alike < ALIKE or chance > COINCIDENCE:
                continue
            if not any(has_all(key, pieces) for key in self._passed):
                return pieces
        return None


def has_all(key: str, pieces: Pieces) -> bool:
    return all(piece in key for piece in pieces)


@lru_cache(2 * MOST_KEYS)
def _pieces(key: str) -> Pieces:
    """The directories and words of a key."""
    *directories, _ = key.split("/")
    return frozenset([*(f"{each}/" for each in directories), *_WORD.findall(key)])


def _pattern(key: str, pieces: Pieces) -> str:
    """The key with a star for whatever is not among the pieces."""
    spans = [(key.find(piece), len(piece)) for piece in pieces]
    kept = {at + number for at, length in spans for number in range(length)}
    return re.sub(r"\*+", "*", "".join(c if n in kept else "*" for n, c in enumerate(key)))

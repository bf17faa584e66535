"""Faults of the mocked metadata service, as text: ``"PUT 503 x2"``.

A fault is ``[GET|PUT] [/PATH[$]] KIND [xTIMES] [CHANCE%]``. The path is a prefix, or with ``$``
the whole of it; without times the fault lasts until faults are set anew. A kind is a status (300
to 599) or

    hang              reads the request and never answers
    reset             a TCP reset instead of an answer
    close             closes the connection without an answer
    empty             200 and no body
    malformed         200 and a body that is neither JSON nor a name
    truncated         the answer, cut in the middle of its body
    huge              200 and a body of a megabyte
    no-token-answer   ``PUT hang``: what a hop limit of 1 looks like from inside a container
"""

import random
import re
import threading
from dataclasses import dataclass

KINDS = ("hang", "reset", "close", "empty", "malformed", "truncated", "huge")
NO_TOKEN_ANSWER = "no-token-answer"  # noqa: S105  (a fault's name)
SYNTAX = f"[GET|PUT] [/PATH[$]] (STATUS | {' | '.join([*KINDS, NO_TOKEN_ANSWER])}) [xN] [N%]"
_RULE = re.compile(
    r"(?:(?P<method>GET|PUT) +)?(?:(?P<path>/[^\s$]*)(?P<end>\$)? +)?"
    rf"(?P<kind>[345][0-9][0-9]|{'|'.join([*KINDS, NO_TOKEN_ANSWER])})"
    r"(?: +x(?P<times>[1-9][0-9]{0,8}))?(?: +(?P<chance>100|[1-9]?[0-9])%)?"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What to do instead of answering; ``times`` 0 is for ever."""

    text: str
    kind: str
    method: str = ""
    path: str = ""
    is_whole_path: bool = False
    times: int = 0
    chance: float = 1.0

    @property
    def status(self) -> int:
        """0 where the kind is a word."""
        return int(self.kind) if self.kind.isdigit() else 0

    def is_about(self, method: str, path: str) -> bool:
        if self.method not in ("", method):
            return False
        return path == self.path if self.is_whole_path else path.startswith(self.path)


def fault_from(text: str) -> Fault:
    """A fault from its text; ``ValueError`` with the right form."""
    found = _RULE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no fault; write {SYNTAX}")
    kind, method = found["kind"], found["method"] or ""
    if kind == NO_TOKEN_ANSWER:
        if method == "GET":
            raise ValueError(f"{text!r}: {NO_TOKEN_ANSWER} is about PUT alone")
        kind, method = "hang", "PUT"
    return Fault(
        text=text.strip(),
        kind=kind,
        method=method,
        path=found["path"] or "",
        is_whole_path=found["end"] is not None,
        times=int(found["times"] or 0),
        chance=int(found["chance"] or 100) / 100,
    )


class Faults:
    """The faults in force, in order; ``_lock`` guards the list and the counts."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self._lock = threading.Lock()
        self._left: list[tuple[Fault, int]] = []

    def set(self, *texts: str) -> None:
        """Have these faults and no others; ``ValueError``, and no change, if one is wrong."""
        faults = [fault_from(text) for text in texts]
        with self._lock:
            self._left = [(fault, fault.times) for fault in faults]

    def texts(self) -> list[str]:
        """The faults that are not used up, as they were written."""
        with self._lock:
            return [fault.text for fault, _ in self._left]

    def take(self, method: str, path: str) -> Fault | None:
        """The fault for this request, counted once; None to answer well."""
        with self._lock:
            for index, (fault, left) in enumerate(self._left):
                if fault.is_about(method, path) and self._rng.random() < fault.chance:
                    if left == 1:
                        del self._left[index]
                    elif left:
                        self._left[index] = fault, left - 1
                    return fault
        return None

"""Which keys of a bucket are this instance's: what to list, and whose a listed object is.

An instance id tells instances apart only where no letter or digit stands beside it: ``i-1`` is the
beginning of ``i-12``. Where a template does not name the instance so, the keys of a fleet look
alike, and what the journal does not know may be another instance's.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from string import Formatter

from shipper.core.object_keys import InstanceFacts, fact, filled, printable, tidy
from shipper.core.types import WatchName

_AGAIN = r"(?:\.[0-9]{1,3})?"
"""What ``object_keys.another_key`` may have put before the last dot."""
_UNKNOWN = {
    "digest": "[0-9a-f]{12}",
    "segment": rf"(?:{_AGAIN}\.at[0-9]+)?",
    "stem": "[^/]+",
    "extension": "[^/]*",
}
"""What a field may hold that another object may have otherwise; a date may hold anything."""


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """The keys that a watch's objects get from today's template."""

    watch: WatchName
    beginning: str
    """With which every one of them begins: what is listed."""
    are_alone: bool
    """Nothing but this instance's objects belongs there."""
    pattern: re.Pattern[str] | None
    """What they look like; None where no key names the instance."""

    def has(self, key: str) -> bool:
        """Whether the key is surely this instance's."""
        if self.are_alone:
            return key.startswith(self.beginning)
        return self.pattern is not None and self.pattern.fullmatch(key) is not None


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of the key that is known, or the pattern of one that is not."""

    text: str = ""
    pattern: str = ""
    is_instance: bool = False


def own_keys(template: str, facts: InstanceFacts, watch: WatchName) -> OwnKeys:
    """Of a valid template; the facts are ``destined``."""
    pieces = list(_pieces(template, facts, watch))
    is_named = any(_is_apart(pieces, at) for at in range(len(pieces)))
    pattern = re.compile("".join(map(_pattern_of, pieces)), re.DOTALL) if is_named else None
    beginning, are_alone = _beginning(pieces)
    return OwnKeys(watch, beginning, are_alone, pattern)


def _pieces(template: str, facts: InstanceFacts, watch: WatchName) -> Iterator[_Piece]:
    known = {
        "prefix": filled(facts.prefix, facts.tags),
        "watch": printable(watch.encode()),
        "instance_id": fact(facts.instance_id),
        "account_id": fact(facts.account_id),
        "region": fact(facts.region),
        "availability_zone": fact(facts.availability_zone),
        "hostname": fact(facts.hostname),
    }
    for words, field, spec, _ in Formatter().parse(template):
        if words:
            yield _Piece(words)
        if field == "tag":
            yield _Piece(fact(facts.tags.get(spec or "", "")))
        elif field in known:
            yield _Piece(known[field], is_instance=field == "instance_id")
        elif field is not None:
            yield _Piece(pattern=_UNKNOWN.get(field, ".*"))


def _is_apart(pieces: list[_Piece], at: int) -> bool:
    """Whether this is the instance id, and nothing beside it can be taken for a part of it."""
    if not pieces[at].is_instance or not pieces[at].text:
        return False
    before, after = pieces[at - 1 : at], pieces[at + 1 : at + 2]
    return all(each.text and not each.text[-1].isalnum() for each in before) and all(
        each.text and not each.text[0].isalnum() for each in after
    )


def _pattern_of(piece: _Piece) -> str:
    """Of a dot, ``object_keys.tidy`` may have made something else."""
    return piece.pattern or re.escape(piece.text).replace(r"\.", rf"{_AGAIN}(?:\.|%2E)")


def _beginning(pieces: list[_Piece]) -> tuple[str, bool]:
    """As ``object_keys.key_beginning``, with all that is known of this instance; cut after the
    last directory that is the instance's alone, to see what else lies in it."""
    known, alone = "", ""
    end = next((at for at, piece in enumerate(pieces) if piece.pattern), len(pieces))
    for at, piece in enumerate(pieces[:end]):
        known += piece.text
        names_instance = any(_is_apart(pieces, one) for one in range(at + 1))
        if names_instance and "/" in piece.text and not piece.is_instance:
            alone = known[: known.rindex("/") + 1]
    if alone:
        return tidy(alone), True
    text = tidy(known.rstrip("."))
    if not any("/" in piece.text for piece in pieces[end:]):
        directory, slash, name = text.rpartition("/")
        text = directory + slash + name.partition(".")[0]
    return text, False

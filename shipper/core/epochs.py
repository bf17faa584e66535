"""What the epochs of an instance say together, and what others know of them. Pure."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from shipper.core.chains import Epoch, Limits, is_silent, newest_of, time_text
from shipper.core.findings import Code, Finding
from shipper.core.manifests import FIRST_START

_CLOCK_SECONDS = 60.0
"""So much besides the slack may a host's clock be ahead of S3's, unsaid."""
_TOGETHER_SECONDS = 1.0
"""Within this time the chains of several destinations begin."""
_LOST = "the journal was lost"


def instance_findings(
    epochs: Sequence[Epoch], limits: Limits, *, is_expected: bool, here: str
) -> Iterator[Finding]:
    """What the epochs of one instance say together; they are in the order they began.

    ``is_expected``: somebody says that the instance lives. ``here`` is ``BUCKET/PREFIX``.
    """
    known = {epoch.name for epoch in epochs}
    for epoch in epochs:
        is_there = epoch.before in known or _was_elsewhere(epoch, here) or limits.is_partial
        if epoch.before and not is_there:
            detail = f"epoch {epoch.name} followed epoch {epoch.before}, of which nothing is there"
            yield Finding(Code.MISSING_EPOCH, epoch.instance, "", detail)
    for epoch in epochs[1:]:
        how = f"epoch {epoch.name} began at {time_text(epoch.from_)}: {_begun(epoch)}"
        yield Finding(Code.NEW_EPOCH, epoch.instance, "", how)
    yield from _other_writers(epochs, limits)
    for epoch in epochs:
        if epoch.to > epoch.stored_at + limits.slack_seconds + _CLOCK_SECONDS:
            detail = f"number {epoch.number} of epoch {epoch.name} is of {epoch.to_text}, and S3 "
            detail += f"stored it at {time_text(epoch.stored_at)}"
            yield Finding(Code.CLOCK_AHEAD, epoch.instance, "", detail)
    yield from _ends(epochs, limits, is_expected=is_expected)


def _begun(epoch: Epoch) -> str:
    """How an epoch that is not its instance's first began."""
    if epoch.begins == FIRST_START:
        return "the state directory was lost, or another machine has this id"
    return epoch.begins or "unsaid"


def _was_elsewhere(epoch: Epoch, here: str) -> bool:
    """Whether it says that the one before may be in no bucket that is read here."""
    if epoch.begins.startswith("the instance was "):
        return True
    address = epoch.begins.removeprefix("the destination was ")
    address = "" if address == epoch.begins else address.rpartition("; ")[0] or address
    return bool(address) and not address.endswith(f"/{here}")


def _other_writers(epochs: Sequence[Epoch], limits: Limits) -> Iterator[Finding]:
    """Epochs that began within another. Those of two destinations begin together."""
    slack, longest = limits.slack_seconds, epochs[0]
    for epoch in epochs[1:]:
        is_within = epoch.from_ < min(longest.sound_to, longest.stored_at) - slack
        if is_within and epoch.from_ > longest.from_ + slack:
            detail = f"epoch {epoch.name} began at {time_text(epoch.from_)}, within epoch "
            detail += f"{longest.name}, which went on"
            yield Finding(Code.ANOTHER_WRITER, epoch.instance, "", detail)
        longest = max(longest, epoch, key=lambda one: one.end)


def _ends(epochs: Sequence[Epoch], limits: Limits, *, is_expected: bool) -> Iterator[Finding]:
    newest, followers = newest_of(epochs), {one.before: one for one in epochs}
    begins = [one.from_ for one in epochs]
    for epoch in epochs:
        if not is_silent(epoch, limits):
            continue
        detail = f"the last manifest, number {epoch.number} of epoch {epoch.name}, is of "
        detail += f"{epoch.to_text} ({epoch.because})"
        stopped = epoch.has_stopped and not (is_expected and epoch is newest)
        follower = followers.get(epoch.name)
        if not stopped and (
            epoch is newest
            or not (_proves_end(follower, epoch) or _is_followed(epoch, begins, follower, limits))
        ):
            yield Finding(Code.ENDED, epoch.instance, "", detail)
        elif stopped and epoch is newest:
            yield Finding(Code.STOPPED, epoch.instance, "", detail)


def _proves_end(follower: Epoch | None, epoch: Epoch) -> bool:
    """Whether the journal went on, and knew this as the end."""
    if follower is None or follower.begins.startswith(_LOST):
        return False
    return (follower.before_number, follower.before_sha256) == (epoch.number, epoch.sha256)


def _is_followed(
    epoch: Epoch, begins: Sequence[float], follower: Epoch | None, limits: Limits
) -> bool:
    """Whether another epoch began before its next manifest was late."""
    until = epoch.to + epoch.due_seconds + limits.slack_seconds
    if follower is not None and follower.from_ <= until:
        return True
    at = bisect_left(begins, max(epoch.to - limits.slack_seconds, epoch.from_ + _TOGETHER_SECONDS))
    return at < len(begins) and begins[at] <= until


@dataclass(frozen=True, slots=True)
class Word:
    """That somebody knew this manifest: a heartbeat, or the epoch that followed."""

    epoch: str
    number: int
    sha256: str
    who: str
    """``the heartbeat of ...``"""
    at: float
    """When it was known."""


def words_of(epochs: Sequence[Epoch]) -> Iterator[Word]:
    """What epochs say of those before them."""
    for epoch in epochs:
        if epoch.before and epoch.before_number:
            who = f"epoch {epoch.name}"
            yield Word(epoch.before, epoch.before_number, epoch.before_sha256, who, epoch.from_)


def word_finding(instance: str, word: Word, epoch: Epoch | None, sha256: str) -> Finding | None:
    """Whether the manifest is as it was known; ``sha256`` is what is there, empty where that is
    not known."""
    if epoch is None:
        what = "of which nothing is there"
    elif word.number > epoch.number:
        what = f"which is not there; the last is {epoch.number}"
    elif sha256 and sha256 != word.sha256:
        what = "which is another one"
    else:
        return None
    detail = f"{word.who} knows number {word.number} of epoch {word.epoch}, {what}"
    return Finding(Code.CUT_TAIL, instance, "", detail)


def with_cut_tail(epoch: Epoch, word: Word) -> Epoch:
    """The epoch, or the newest one, of which somebody knew more: ``word_finding`` names it."""
    if word.epoch == epoch.name and word.number < epoch.number:
        return epoch
    is_replaced = word.epoch == epoch.name and word.number == epoch.number
    begin = epoch.newest_from if is_replaced else epoch.to
    return replace(epoch, holes=(*epoch.holes, (begin, word.at)))

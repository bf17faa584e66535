"""How a fleet does, by its heartbeats: listed, and read only where a listing does not tell enough.

Ten thousand instances that are well cost ten pages of a listing and nothing else.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from shipper.core.fleet import (
    Seen,
    Standing,
    absent,
    clock_now,
    hours_after,
    is_late,
    is_to_read,
    newest,
    standing_of,
)
from shipper.core.heartbeats import DIRECTORY, MOST_BYTES, Heartbeat, NoHeartbeat, decoded
from shipper.core.object_keys import fact
from shipper.ports import Archive, PortError

READERS = 8
"""So many objects are read at once: as many connections as an archive has."""


@dataclass(frozen=True, slots=True)
class Survey:
    """``others`` are objects there that are no heartbeats. ``unexpected`` write, and are not in
    the list; None without one. The clock here is ``behind_seconds`` behind S3's, 0 where it is
    little."""

    standings: tuple[Standing, ...]
    unexpected: tuple[str, ...] | None
    others: int
    behind_seconds: float
    now: float

    @property
    def needy(self) -> int:
        """How many need somebody."""
        return sum(one.needs_somebody for one in self.standings)


def survey(
    archive: Archive,
    prefix: str,
    *,
    interval_seconds: float,
    now: float,
    expected: Sequence[str] | None = None,
    is_thorough: bool = False,
) -> Survey:
    """The whole fleet below the prefix, those first who need somebody. ``is_thorough`` reads what
    all say that are not well.

    Raises:
        PortError: the bucket cannot be listed.
    """
    top = prefix + DIRECTORY
    after = f"{top}hour={hours_after(now, interval_seconds)}"
    found, others = newest(prefix, archive.listed(top, after=after))
    now, behind_seconds = clock_now(now, found.values())
    listed = None if expected is None else {fact(each) for each in expected}
    is_expected = {name: None if listed is None else name in listed for name in found}
    wanted = [
        one
        for name, one in found.items()
        if is_to_read(
            one,
            late=is_late(one, now, interval_seconds, is_expected=is_expected[name]),
            is_thorough=is_thorough,
        )
    ]
    with ThreadPoolExecutor(READERS, thread_name_prefix="heartbeat") as readers:
        said = readers.map(lambda one: _read(archive, one), wanted)
        read = {one.instance: content for one, content in zip(wanted, said, strict=True)}
    standings = []
    for name, one in found.items():
        content = read.get(name)
        problem = str(content) if isinstance(content, PortError) else ""
        content = None if isinstance(content, PortError) else content
        standings.append(
            standing_of(
                one, now, interval_seconds, content, problem, is_expected=is_expected[name]
            )
        )
    standings += absent(expected or (), found)
    unexpected = None if listed is None else tuple(sorted(found.keys() - listed))
    standings.sort(key=lambda one: (not one.needs_somebody, one.word, one.instance))
    return Survey(tuple(standings), unexpected, others, behind_seconds, now)


def _read(archive: Archive, seen: Seen) -> Heartbeat | NoHeartbeat | PortError:
    body = bytearray()
    try:
        for piece in archive.read(seen.object.key):
            body += piece
            if len(body) > MOST_BYTES:
                break  # it was replaced by something else since it was listed
        return decoded(bytes(body))
    except (NoHeartbeat, PortError) as error:
        return error

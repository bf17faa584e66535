"""What is to be sent, and by whom."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.performance import contestants
from tests.performance.contestants import Contestant

KIB, MIB = 1024, 1024**2
START = "nothing"
ONE, ONE_PACKED = "one large file", "one large file, compressed"
MANY, MANY_PACKED = "32 MiB files", "32 MiB files, compressed"
SMALL, SMALL_PACKED = "small files", "small files, compressed"
SMALL_AWAY, SMALL_FAR = "small files, 10 ms away", "small files, 100 ms away"
BACKLOG, BACKLOG_FAR = "backlog", "backlog, 100 ms away"


@dataclass(frozen=True, slots=True)
class Work:
    """Some logs, and who is to send them."""

    name: str
    files: int
    size_bytes: int
    by: Sequence[Contestant]
    away_seconds: float = 0.0
    """How long the sink takes for an answer, as a network would."""


def works(is_quick: bool) -> list[Work]:
    """What is done in a round."""
    one, many, small, backlog = (256, 8, 300, 1000) if is_quick else (2048, 64, 2000, 20_000)
    return [
        Work(START, 0, 0, (contestants.START,)),
        Work(ONE, 1, one * MIB, contestants.PLAIN_FILE),
        Work(ONE_PACKED, 1, one * MIB, contestants.PACKED_FILE),
        Work(MANY, many, 32 * MIB, contestants.PLAIN_FILES),
        Work(MANY_PACKED, many, 32 * MIB, contestants.PACKED_FILES),
        Work(SMALL, small, 100 * KIB, contestants.SMALL_FILES),
        Work(SMALL_PACKED, small, 100 * KIB, contestants.PACKED_FILES),
        Work(SMALL_AWAY, small, 100 * KIB, contestants.AWAY_FILES, away_seconds=0.01),
        Work(SMALL_FAR, 300, 100 * KIB, contestants.AWAY_FILES, away_seconds=0.1),
        Work(BACKLOG, backlog, 4 * KIB, contestants.AWAY_FILES),
        Work(BACKLOG_FAR, backlog, 4 * KIB, contestants.BACKLOG_FAR_FILES, away_seconds=0.1),
    ]

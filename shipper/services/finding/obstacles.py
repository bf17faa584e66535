"""What keeps a file from being shipped, as far as its entry and an open tell."""

from shipper.core.identity import is_certain, untouched
from shipper.core.parts import MAX_OBJECT_BYTES
from shipper.core.types import Entry, FileKind, FileStat, Watch, WatchName
from shipper.journal.journal import Journal
from shipper.ports import Files, PortError

NO_FILES = frozenset({FileKind.ALIAS, FileKind.LINKED_DIRECTORY})
"""What a live name leads to may have no bytes, or go under another name: that is no loss."""


def obstacle(
    files: Files, journal: Journal, watch: Watch, entry: Entry, *, is_live: bool = False
) -> PortError | None:
    """Why the rotated or live file cannot be shipped; None also where there is no need."""
    stat = entry.stat
    if is_live and stat.kind in NO_FILES:
        return None
    problem = refusal_of(watch, stat)
    if problem is None:
        try:
            files.open(watch, entry.path).close()
        except PortError as error:
            problem = None if error.code == "NotFound" else error
    elif not stat.size_bytes and problem.code == "HardLinked":
        return None
    is_needed = problem is not None and not is_known(journal, watch.name, stat)
    return problem if is_needed else None


def is_known(journal: Journal, watch: WatchName, stat: FileStat) -> bool:
    """Whether the file is surely promised or shipped as it is."""
    known = untouched(journal.known(watch, stat.inode), stat)
    return known is not None and is_certain(known, stat)


def refusal_of(watch: Watch, stat: FileStat) -> PortError | None:
    """Why a file that is such cannot be shipped."""
    if stat.kind is not FileKind.REGULAR:
        return PortError("NotRegular", stat.kind.value, "exclude it, or remove it")
    if stat.link_count > 1 and not watch.follow_hard_links:
        return PortError(
            "HardLinked",
            f"{stat.link_count} names lead to it",
            "set follow_hard_links = true if whoever may write there is trusted",
        )
    if 0 < watch.max_size_bytes < stat.size_bytes:
        return PortError(
            "AboveMaxSize",
            f"{stat.size_bytes} bytes, and max_size is {watch.max_size_bytes}",
            "raise max_size, exclude it, or remove it",
        )
    if stat.size_bytes > MAX_OBJECT_BYTES:
        return PortError(
            "TooLarge",
            f"{stat.size_bytes} bytes, and S3 holds objects of 50 TB",
            "exclude it, or truncate it if it is sparse by mistake",
        )
    return None

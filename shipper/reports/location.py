"""Where a path is: below which watch, and whether that watch's scan ever comes there."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from shipper.core.rotated_names import role_because, role_of
from shipper.core.types import RelativePath, Role, Watch
from shipper.edges.files.directory_files import DEEPEST


@dataclass(frozen=True, slots=True)
class Location:
    """A path below a watch, or below its archive directory.

    Without a ``role`` the watch leaves it alone; ``hint`` is how that could be changed, where it
    is not what the configuration asks for.
    """

    watch: Watch
    path: RelativePath
    role: Role | None
    because: str
    hint: str = ""
    is_archive: bool = False


def resolved(path: bytes) -> bytes:
    """The path from the root, through every link but a last one."""
    above, name = os.path.split(path.rstrip(b"/") or b"/")
    if name in (b"", b".", b".."):
        return os.path.realpath(path)
    return os.path.join(os.path.realpath(above or b"."), name)


def located(watches: Iterable[Watch], path: bytes) -> Location | None:
    """The watch that a path (relative ones are, to the current directory) belongs to.

    Of several, the one that ships it; None where there is none.
    """
    real, spelt = resolved(path), os.path.abspath(path)
    found = [_within(watch, real, spelt) for watch in watches]
    return min((one for one in found if one is not None), key=_rank, default=None)


def _rank(location: Location) -> tuple[bool, bool, int]:
    return (
        location.role is not Role.ROTATED,
        location.role is None,
        -len(location.watch.directory),
    )


def _within(watch: Watch, real: bytes, spelt: bytes) -> Location | None:
    archived = _below(watch.archive_directory, real) if watch.archive_directory else None
    if archived is not None:
        return Location(watch, archived, None, "in the archive directory", is_archive=True)
    inside = _below(watch.directory, real)
    if inside is None:
        return _behind_a_link(watch, spelt)
    depth = inside.count(b"/")
    if depth and not watch.recursive:
        return Location(watch, inside, None, "in a subdirectory, and recursive is false")
    if depth > DEEPEST:
        because = f"more than {DEEPEST} directories below the watch's"
        return Location(watch, inside, None, because, "watch a directory further down")
    role, because = role_of(watch, inside), role_because(watch, inside)
    is_meant = role is not None or because.startswith("excluded")
    hint = "" if is_meant else "name it in include, if it is to be shipped"
    return Location(watch, inside, role, because, hint)


def _behind_a_link(watch: Watch, spelt: bytes) -> Location | None:
    above = os.path.abspath(os.fsencode(watch.directory)) + b"/"
    if not spelt.startswith(above):
        return None
    path, hint = RelativePath(spelt.removeprefix(above)), "watch the directory it leads to"
    return Location(watch, path, None, "behind a symbolic link, which no scan follows", hint)


def _below(directory: str, path: bytes) -> RelativePath | None:
    """The rest of the path below the directory; empty for the directory itself."""
    top = os.path.realpath(os.fsencode(directory)).rstrip(b"/")
    if path == (top or b"/"):
        return RelativePath(b"")
    inside = path.removeprefix(top + b"/")
    return RelativePath(inside) if inside != path else None

"""Globs over relative paths, as patterns whose cost is bounded.

``*`` and ``?`` stop at slashes, ``**/`` is any number of directories, ``[...]`` a class. A glob
without a slash matches in every directory, as in ``.gitignore``.

A plain translation backtracks: ``*a*a*a*a*b`` took seconds for one long name, and whoever may
create a log could stop the scan. Here what follows a star is matched where it first occurs, and
is never tried again (atomic groups, as in ``fnmatch.translate``). That is exact, because the first
occurrence leaves the most for the rest. The same holds for directories and ``**/``.
"""

import re
from functools import lru_cache

from shipper.core.types import RelativePath, Watch

_TOKEN = re.compile(r"(?:(?<=/)|\A)\*\*/|\*\*|\*|\?|/|\[[!^]?[^/][^]/]*\]|.", re.DOTALL)
_WILD = re.compile(r"[*?]|\[[!^]?[^/][^]/]*\]")


def is_wild(name: str) -> bool:
    """Whether one component of a path is a glob."""
    return bool(_WILD.search(name))


def split_directory(directory: str) -> tuple[str, str]:
    """``Watch.directory`` and ``Watch.pattern`` of a configured directory."""
    parts = directory.split("/")
    first = next((at for at, part in enumerate(parts) if is_wild(part)), len(parts))
    return "/".join(parts[:first]) or "/", "".join(f"{part}/" for part in parts[first:])


def within(watch: Watch, path: RelativePath) -> RelativePath | None:
    """The path below the directory that matches the watch's pattern; None where none does."""
    if not watch.pattern:
        return path
    found = glob_pattern(watch.pattern).match(path)
    return None if found is None else RelativePath(path[found.end() :])


def matching_glob(globs: tuple[str, ...], path: RelativePath) -> str:
    """The first of the globs that matches; empty where none does."""
    return next((glob for glob in globs if glob_pattern(glob).fullmatch(path)), "")


@lru_cache(maxsize=1024)
def glob_pattern(glob: str) -> re.Pattern[bytes]:
    """A pattern over whole relative paths.

    Raises:
        re.error: of a class that is none, such as ``[z-a]``.
    """
    gaps: list[list[list[bytes]]] = [[[b""]]]  # between "**/": components: between "*": a pattern
    for part in _TOKEN.findall(glob if "/" in glob else f"**/{glob}"):
        if part in ("**/", "**"):  # "**" is "**/*"
            gaps.append([[b""] if part == "**/" else [b"", b""]])
        elif part == "/":
            gaps[-1].append([b""])
        elif part == "*":
            gaps[-1][-1].append(b"")
        else:
            gaps[-1][-1][-1] += _one(part)
    first, *rest = [_components(gap, is_last=gap is gaps[-1]) for gap in gaps]
    for middle in rest[:-1]:
        first += rb"(?>(?:[^/]*/)*?" + middle + rb")"
    return re.compile(first + (rb"(?:[^/]*/)*" + rest[-1] if rest else b""), re.DOTALL)


def _components(components: list[list[bytes]], *, is_last: bool) -> bytes:
    whole = [_pieces(pieces, is_whole=True) for pieces in components[:-1]]
    return b"/".join([*whole, _pieces(components[-1], is_whole=is_last)])


def _pieces(pieces: list[bytes], *, is_whole: bool) -> bytes:
    """Of one component; ``is_whole`` where a slash or the end follows."""
    if len(pieces) == 1:
        return pieces[0]
    between = [rb"(?>[^/]*?" + piece + rb")" for piece in pieces[1 : -1 if is_whole else None]]
    return b"".join([pieces[0], *between, rb"[^/]*" + pieces[-1] if is_whole else b""])


def _one(part: str) -> bytes:
    if part == "?":
        return rb"[^/]"
    if len(part) > 1:
        return _class_pattern(part[1:-1])
    return re.escape(part.encode("utf-8", "surrogateescape"))


def _class_pattern(inside: str) -> bytes:
    negated = inside.startswith(("!", "^"))
    body = inside[1:] if negated else inside
    escaped = re.sub(rb"([\\\]\[^&~|]|(?<=-)-)", rb"\\\1", body.encode("utf-8", "surrogateescape"))
    return b"[" + (b"^/" if negated else b"") + escaped + b"]"


def may_share(one: str, other: str) -> bool:
    """Whether some name may match both globs, of one component each."""
    return _may_share(tuple(_TOKEN.findall(one)), tuple(_TOKEN.findall(other)))


@lru_cache(maxsize=1024)
def _may_share(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    if one[:1] == ("*",):
        return _may_share(one[1:], other) or (bool(other) and _may_share(one, other[1:]))
    if other[:1] == ("*",):
        return _may_share(other, one)
    if not one or not other:
        return one == other
    return _may_be_one(one[0], other[0]) and _may_share(one[1:], other[1:])


def _may_be_one(one: str, other: str) -> bool:
    """Whether two tokens may stand for one character; of two classes that is taken as given."""
    if len(one) > 1 and len(other) > 1:
        return True
    if len(other) > 1:
        one, other = other, one
    return other == "?" or bool(re.fullmatch(_one(one), other.encode("utf-8", "surrogateescape")))

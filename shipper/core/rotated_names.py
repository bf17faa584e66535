"""Whether a name is that of a rotated log, and of which log.

Known are the names that rotators give: logrotate (``app.log.1``, ``app.log-20261123.gz``, with
``extension`` ``app.1.log``), Python's handlers, log4j and logback (``app-2026-11-23-1.log.gz``),
Tomcat (``catalina.2026-11-23.log``), Apache rotatelogs (``access_log.1764000000``) and archived
journald files. A watch's ``include`` replaces them, ``exclude`` takes away from them.

A removal renames a file to ``set_aside(name)`` before it unlinks it. Such a name, which a crash
may leave behind, stands for the original one everywhere.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from shipper.core.types import RelativePath, Role, Watch

ASIDE = b".shipper-aside."
"""How a name begins while its file is being removed; hidden from the globs of rotators."""

COMPRESSED_EXTENSIONS = (b".gz", b".zst", b".xz", b".bz2", b".lz4", b".zip", b".Z")
_DATE = rb"""(?:(?:19|20)\d\d(?P<s>[-_.]?)(?:0[1-9]|1[0-2])(?P=s)(?:0[1-9]|[12]\d|3[01])
              |(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])-(?:19|20)\d\d
              |(?:19|20)\d\d-(?:0[1-9]|1[0-2]))"""
_TIME = rb"(?:[-_.T]?(?:[01]\d|2[0-3])(?:[-_.:]?[0-5]\d){0,2}Z?)?"
_COUNTER = rb"(?:[-_.]\d{1,10})?"
_EXTENSION = rb"(?P<extension>\.(?:log|txt|out|err|json|jsonl|ndjson|csv|trace|audit|xml))"

_PATTERNS = tuple(
    re.compile(pattern, re.VERBOSE | re.DOTALL)
    for pattern in (
        rb"(?P<stem>[^@]+)@[0-9a-f][0-9a-f-]{14,}(?P<extension>\.journal)~?",
        rb"(?P<stem>.+?)[-_.]" + _DATE + _TIME + _COUNTER + _EXTENSION + rb"?",
        rb"(?P<stem>.+?)[-.]1\d{9}" + _EXTENSION + rb"?",
        rb"(?P<stem>.+)\.\d{1,5}",
        rb"(?P<stem>.+)[-.]\d{1,3}" + _EXTENSION,
    )
)


@dataclass(frozen=True, slots=True)
class RotatedName:
    """``app.log`` and ``.gz`` of ``app.log.3.gz``."""

    stem: bytes
    extension: bytes


def rotated_name(path: RelativePath) -> RotatedName | None:
    """Which log a rotator's name stands for; None when no rotator gives such a name."""
    return _rotated_name(path.rpartition(b"/")[2])


@lru_cache(maxsize=4096)  # the same names stand in many directories
def _rotated_name(base: bytes) -> RotatedName | None:
    name, extension = _split(base)
    for pattern in _PATTERNS:
        if found := pattern.fullmatch(name):
            groups = found.groupdict()
            return RotatedName(groups["stem"] + (groups.get("extension") or b""), extension)
    return None


def stem_and_extension(path: RelativePath) -> RotatedName:
    """Like ``rotated_name``, but total: a name no rotator gives is its own stem."""
    base = path.rpartition(b"/")[2]
    return _rotated_name(base) or RotatedName(*_split(base))


def is_compressed(path: RelativePath) -> bool:
    return path.endswith(COMPRESSED_EXTENSIONS)


def role_of(watch: Watch, path: RelativePath) -> Role | None:
    """Whether the watch takes the path for rotated or live; None when it does not select it."""
    return role_and_reason(watch, path)[0]


def role_and_reason(watch: Watch, path: RelativePath) -> tuple[Role | None, str]:
    """The role, and why, for people."""
    path = original(path)
    if glob := _match(watch.exclude, path):
        return None, f'excluded by "{glob}"'
    if glob := _match(watch.include, path):
        return Role.ROTATED, f'included by "{glob}"'
    if not watch.include and rotated_name(path):
        return Role.ROTATED, "a name that rotators give"
    if glob := _match(watch.live, path):
        return Role.LIVE, f'live by "{glob}"'
    because = "no glob of include matches" if watch.include else "no rotator gives such a name"
    return None, because


def is_excluded(watch: Watch, path: RelativePath) -> bool:
    """Whether ``exclude`` names it."""
    return bool(_match(watch.exclude, original(path)))


def set_aside(name: bytes) -> bytes:
    """The name, in the same directory, of a file that is being removed. Idempotent."""
    return name if name.startswith(ASIDE) else ASIDE + name


def original(path: RelativePath) -> RelativePath:
    if path.find(ASIDE) < 0:
        return path
    above, slash, name = path.rpartition(b"/")
    first = name.removeprefix(ASIDE)
    return path if first in (b"", b".", b"..") else RelativePath(above + slash + first)


def overlap(one: Watch, other: Watch) -> bool:
    """Whether both would ship the same file, as far as names can tell."""
    inner, outer = sorted((one, other), key=lambda watch: len(watch.directory), reverse=True)
    top = outer.directory.rstrip("/") + "/"
    below = f"{inner.directory.rstrip('/')}/"
    if not below.startswith(top) or (below != top and not outer.recursive):
        return False
    way = below.removeprefix(top).encode("utf-8", "surrogateescape")
    globs = (*inner.include, *outer.include)
    names = [b"app.log.1", b"app.log-20261124", *(_example(glob) for glob in globs)]
    return any(
        role_of(inner, RelativePath(name))
        is role_of(outer, RelativePath(way + name))
        is Role.ROTATED
        for name in names
    )


def _example(glob: str) -> bytes:
    last = re.sub(r"\[!?(.)[^]]*\]", r"\1", glob.rpartition("/")[2])
    return last.replace("*", "x").replace("?", "x").encode("utf-8", "surrogateescape")


def _split(name: bytes) -> tuple[bytes, bytes]:
    name = original(RelativePath(name))
    for extension in COMPRESSED_EXTENSIONS:
        if name.endswith(extension) and name != extension:
            return name[: -len(extension)], extension
    return name, b""


def _match(globs: tuple[str, ...], path: RelativePath) -> str:
    return next((glob for glob in globs if glob_pattern(glob).fullmatch(path)), "")


@lru_cache(maxsize=1024)
def glob_pattern(glob: str) -> re.Pattern[bytes]:
    """A pattern over whole relative paths.

    ``*`` and ``?`` stop at slashes, ``**/`` is any number of directories, ``[...]`` a class. A
    glob without a slash matches in every directory, as in ``.gitignore``.
    """
    text = glob if "/" in glob else f"**/{glob}"
    out, at = b"", 0
    while at < len(text):
        if text.startswith("**/", at):
            out, at = out + rb"(?:[^/]+/)*", at + 3
        elif text.startswith("**", at):
            out, at = out + rb".*", at + 2
        elif text[at] == "[" and (end := text.find("]", at + 2)) > 0:
            out, at = out + _class_pattern(text[at + 1 : end]), end + 1
        else:
            literal = re.escape(text[at].encode("utf-8", "surrogateescape"))
            out += {"*": rb"[^/]*", "?": rb"[^/]"}.get(text[at], literal)
            at += 1
    return re.compile(out, re.DOTALL)


def _class_pattern(inside: str) -> bytes:
    negated = inside.startswith(("!", "^"))
    body = inside[1:] if negated else inside
    escaped = re.sub(rb"([\\\]\[^&~|]|(?<=-)-)", rb"\\\1", body.encode("utf-8", "surrogateescape"))
    return b"[" + (b"^/" if negated else b"") + escaped + b"]"

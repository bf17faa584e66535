r"""Which log a rotator's name stands for; ``core.roles`` decides whether it is a rotation.

The names are listed by rotator in docs/configuration.md, and each of them is a test. Two rules of
order: what was recognised first keeps its stem for ever, because the stem is part of the key; and
a date says more about a name than a number, so roles look for dates first.

A removal renames a file to ``set_aside(name)`` before it unlinks it. Such a name, which a crash
may leave behind, stands for the original one everywhere.
"""

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from shipper.core.types import RelativePath

ASIDE = b".shipper-aside."
"""How a name begins while its file is being removed; hidden from the globs of rotators."""

ARCHIVES = (b".tar.gz", b".tar.bz2", b".tar.xz", b".tar.zst", b".tgz", b".zip", b".7z")
COMPRESSED_EXTENSIONS = (
    *ARCHIVES,
    *(b".gz", b".zst", b".xz", b".bz2", b".lz4", b".lzma", b".lzo", b".br", b".sz", b".Z"),
)


class Kind(Enum):
    """What of a name tells that it is a rotation; in the order in which roles look for it."""

    DATE = "a date"
    MARK = "a mark"
    NUMBER_BEHIND = "a number behind the name"
    NUMBER = "a number in the name"


@dataclass(frozen=True, slots=True)
class RotatedName:
    """``app.log`` and ``.gz`` of ``app.log.3.gz``, and what makes it a rotation's name."""

    stem: bytes
    extension: bytes
    kind: Kind = Kind.MARK
    date: bytes = b""
    clock: bytes = b""
    count: bytes = b""
    is_behind: bool = True
    """Nothing follows the date or number, such as ``.log``."""
    is_bold: bool = False
    """A form that other names have, too: it needs a log's name, or the log beside it."""


_EXTENSION = rb"(?P<extension>\.(?:log|txt|out|err|json|jsonl|ndjson|csv|trace|audit|xml))"
_YEAR, _MONTH, _DAY = rb"(?:19|20)\d\d", rb"(?:0[1-9]|1[0-2])", rb"(?:0[1-9]|[12]\d|3[01])"
_YMD = rb"(?:%b(?P<s>[-_.]?)%b(?P=s)%b)" % (_YEAR, _MONTH, _DAY)
_DATE = rb"(?P<date>%b|%b-%b-%b|%b-%b)" % (_YMD, _MONTH, _DAY, _YEAR, _YEAR, _MONTH)
_CLOCK = rb"(?P<clock>(?:[-_.T]?(?:[01]\d|2[0-3])(?:[-_.:]?[0-5]\d){0,2}Z?)?)"
_COUNT = rb"(?:[-_.](?P<count>\d{1,10}))?"
_NAMED = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_BOLD_DATE = rb"""(?P<date>%(ymd)b
    |%(day)b(?P<t>[-_.]?)%(month)b(?P=t)%(year)b|%(month)b(?P<u>[-_.]?)%(day)b(?P=u)%(year)b
    |%(year)b[-_.]?%(named)b[-_.]?\d\d|\d\d[-_.]?%(named)b[-_.]?%(year)b
    |%(year)b[-_.]?[Ww]?(?:[0-4]\d|5[0-3])
    |(?:(?<=[A-Za-z]{3}[-_.])|(?<=_log[-_.]))(?:%(year)b[-.]?[0-3]\d\d|\d\d%(month)b%(day)b)
    |\d\d\.%(month)b\.%(day)b(?=_))""" % {
    b"ymd": _YMD,
    b"year": _YEAR,
    b"month": _MONTH,
    b"day": _DAY,
    b"named": _NAMED,
}
_BOLD_CLOCK = rb"""(?P<clock>(?:[-_.T]{0,2}(?:[01]\d|2[0-3])
    (?:[-_.:h]{0,2}[0-5]\d(?:[-_.:m]{0,2}[0-5]\d(?:[.,]\d{1,9})?)?)?(?:Z|[-+]\d\d:?\d\d)?)?
    |[-_.]?[AaPp][Mm])"""
_HOURS = rb"\d\d:\d\d:\d\d"
_SHORT_DAY = rb"\d\d%b%b" % (_MONTH, _DAY)


@dataclass(frozen=True, slots=True)
class _Form:
    kind: Kind
    pattern: re.Pattern[bytes]
    is_bold: bool = False


def _form(kind: Kind, pattern: bytes, *, is_bold: bool = False) -> _Form:
    return _Form(kind, re.compile(pattern, re.VERBOSE | re.DOTALL), is_bold)


_FORMS = (
    _form(Kind.MARK, rb"(?P<stem>[^@]+)@[0-9a-f][0-9a-f-]{14,}(?P<extension>\.journal)~?"),
    _form(Kind.DATE, rb"(?P<stem>.+?)[-_.]" + _DATE + _CLOCK + _COUNT + _EXTENSION + rb"?"),
    _form(Kind.MARK, rb"(?P<stem>.+?)[-.]1\d{9}" + _EXTENSION + rb"?"),
    _form(Kind.NUMBER_BEHIND, rb"(?P<stem>.+)\.(?P<count>\d{1,5})"),
    _form(Kind.NUMBER, rb"(?P<stem>.+)[-.](?P<count>\d{1,3})" + _EXTENSION),
    # All below came later, and must stay below.
    _form(Kind.MARK, rb"@[0-9a-f]{24}\.[su](?P<stem>)"),
    _form(Kind.MARK, rb"(?P<stem>.+?)\." + _HOURS + b"-" + _HOURS + _EXTENSION),
    _form(Kind.MARK, rb"(?P<stem>.+?)[-._]1\d{9}(?:\d{3})?" + _COUNT + _EXTENSION + rb"?"),
    _form(Kind.MARK, rb"(?P<stem>.+?)[-._](?:old|prev|previous)" + _EXTENSION, is_bold=True),
    _form(Kind.DATE, rb"(?P<date>" + _YMD + rb")" + _BOLD_CLOCK + _COUNT + _EXTENSION),
    _form(
        Kind.DATE,
        rb"(?P<date>" + _YMD + rb")" + _BOLD_CLOCK + _COUNT + rb"[-_.](?P<stem>.+?)" + _EXTENSION,
    ),
    _form(
        Kind.DATE,
        rb"(?P<stem>.*[A-Za-z_])(?P<date>" + _YEAR + _MONTH + _DAY + rb")"
        rb"(?P<clock>(?:\d\d){0,3})" + _COUNT + _EXTENSION,
    ),
    _form(
        Kind.DATE,
        rb"(?P<stem>(?:u_)?(?:ex|in|nc))(?P<date>" + _SHORT_DAY + rb")(?P<clock>(?:\d\d)?)"
        rb"(?:_x)?" + _EXTENSION,
    ),
    _form(
        Kind.DATE,
        rb"(?P<stem>.+?)[-_.]{1,2}" + _BOLD_DATE + _BOLD_CLOCK + _COUNT + _EXTENSION + rb"?",
        is_bold=True,
    ),
    _form(Kind.NUMBER_BEHIND, rb"(?P<stem>.+\.(?:log|out|err))[-_]?(?P<count>\d{1,5})"),
    _form(Kind.NUMBER, rb"(?P<stem>.+)[-_.](?P<count>20[1-9]\d)" + _EXTENSION, is_bold=True),
    # PostgreSQL's %a: each name is overwritten after a week.
    _form(Kind.DATE, rb"(?P<stem>.+)[-_.](?P<date>Mon|Tue|Wed|Thu|Fri|Sat|Sun)" + _EXTENSION),
)
_KINDS = tuple(Kind)
_FORMS_BY_KIND = tuple(sorted(_FORMS, key=lambda form: _KINDS.index(form.kind)))
_KEPT = re.compile(rb"(?P<rest>.+)[-._](?:old|OLD|bak|backup|prev)", re.DOTALL)
_UUID = re.compile(rb".*[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?:\.[a-z]+)?", re.DOTALL)


def stem_and_extension(path: RelativePath) -> RotatedName:
    """Of which log the name is; a name that no rotator gives is its own stem."""
    base = path.rpartition(b"/")[2]
    return _stem_and_extension(base)


@lru_cache(maxsize=4096)  # the same names stand in many directories
def _stem_and_extension(base: bytes) -> RotatedName:
    name, extension = _split(base)
    return _found(_FORMS, name, extension) or RotatedName(name, extension)


def rotated_name(path: RelativePath) -> RotatedName | None:
    """What makes the name one that rotators give, dates before numbers; None where nothing does.

    Its stem may differ from that of ``stem_and_extension``, which is the one that keys have.
    """
    return _rotated_name(path.rpartition(b"/")[2])


@lru_cache(maxsize=4096)
def _rotated_name(base: bytes) -> RotatedName | None:
    name, extension = _split(base)
    return None if _UUID.fullmatch(name) else _found(_FORMS_BY_KIND, name, extension)


def _found(forms: tuple[_Form, ...], name: bytes, extension: bytes) -> RotatedName | None:
    found = _formed(forms, name, extension)
    if found is None and (kept := _KEPT.fullmatch(name)):
        inner = _formed(forms, kept["rest"], extension)
        stem = inner.stem if inner else kept["rest"]
        return RotatedName(stem, extension, is_bold=True)
    return found


def _formed(forms: tuple[_Form, ...], name: bytes, extension: bytes) -> RotatedName | None:
    for form in forms:
        if match := form.pattern.fullmatch(name):
            return _from_match(form, match, extension)
    return None


def _from_match(form: _Form, match: re.Match[bytes], extension: bytes) -> RotatedName:
    groups = {name: text or b"" for name, text in match.groupdict().items()}
    ending = groups.get("extension", b"")
    stem = groups.get("stem", b"") + ending
    if not groups.get("stem"):
        stem = ending.lstrip(b".") or b"current"
    return RotatedName(
        stem=stem,
        extension=extension,
        kind=form.kind,
        date=groups.get("date", b""),
        clock=groups.get("clock", b""),
        count=groups.get("count", b""),
        is_behind=not ending,
        is_bold=form.is_bold,
    )


def is_compressed(path: RelativePath) -> bool:
    """Whether the file is passed through. Only some of these can be proved to be copies."""
    return path.endswith(COMPRESSED_EXTENSIONS)


def without_compression(name: bytes) -> bytes:
    return _split(name)[0]


def set_aside(name: bytes) -> bytes:
    """The name, in the same directory, of a file that is being removed. Idempotent."""
    return name if name.startswith(ASIDE) else ASIDE + name


def original(path: RelativePath) -> RelativePath:
    if path.find(ASIDE) < 0:
        return path
    above, slash, name = path.rpartition(b"/")
    first = name.removeprefix(ASIDE)
    return path if first in (b"", b".", b"..") else RelativePath(above + slash + first)


def _split(name: bytes) -> tuple[bytes, bytes]:
    name = original(RelativePath(name))
    if is_compressed(RelativePath(name)):
        for extension in COMPRESSED_EXTENSIONS:
            if name.endswith(extension) and name != extension:
                return name[: -len(extension)], extension
    return name, b""

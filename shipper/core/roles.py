"""Whether a watch takes a file for a rotated log, for a live one, or for none of its business.

A name with a date is that of a finished log, or of one that a program writes under this name until
the day is over. What tells the two apart:

- A date behind the name (``app.log-20261128``): a rotator has renamed the log.
- The undated name beside it, if that is written to: likewise. A symbolic link there leads to the
  log that is written.
- A newer member of the series, or compression: it is finished. One of the future says nothing.
- A time to the second: the moment of a rotation.
- Else it is live until its period has ended in local time and in UTC. That costs a delay. To take
  it for finished would ship it in as many pieces as its writer makes pauses.

A number alone says less: ``worker-1.log`` is one of several processes, ``app.1.log`` a rotation.
It needs its unnumbered log beside it, a compressed member of the series, or a shift that was seen
(``core.shifting``).

The decision is about names. Whether the file has stopped changing is ``core.sealing``'s.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from glob import escape

from shipper.core.dates_in_names import AHEAD, LATEST, Period, end_of, periods, weekday
from shipper.core.globs import is_wild, matching_glob, may_share, within
from shipper.core.live_segments import is_shipped_live
from shipper.core.rotated_names import (
    ARCHIVES,
    COMPRESSED_EXTENSIONS,
    Kind,
    RotatedName,
    is_compressed,
    original,
    rotated_name,
    without_compression,
)
from shipper.core.shifting import is_lowest, numbered
from shipper.core.siblings import NO_SIBLINGS, Siblings, rank
from shipper.core.types import RelativePath, Role, Watch

Found = tuple[Role | None, str]
"""The role, and why, for people."""

DEFAULT_LIVE = Watch(directory="").live

_ROTATORS = "a name that rotators give"
_LOG = re.compile(
    rb"""(?:.*[-_.](?:logs?|out|err|stdout|stderr|trace|audit)|.*_log|[a-z]*log|log\..+
    |messages|secure|cron|spooler|mail|auth|daemon|kern|user|debug|dmesg|[bw]tmp|local\d
    |(?:std)?(?:out|err)|(?:mail|news|daemon)\.(?:info|warn|err|crit|notice)|current|full|.*\.current)""",
    re.VERBOSE | re.DOTALL,
)
_EVIDENT = re.compile(rb".*\.(?:txt|json|jsonl|ndjson|csv|xml|journal)", re.DOTALL)
_NO_LOG = re.compile(
    rb""".*(?:\.(?:conf|cfg|cnf|ini|ya?ml|toml|properties|pid|lo?ck|sock|so|py|pyc|sh|jar|war|rpm
    |deb|whl|service|sql|db|sqlite3?|html?|js|css|php|pem|crt|key|exe|dll|swp|te?mp|part|bin|img
    |iso|tar|rb|[ch]|md)(?:\.[\d.]+)?|~)""",
    re.VERBOSE | re.DOTALL,
)
_ADDRESS = re.compile(rb"\d+(?:\.\d+){3}|[0-9a-f]*(?::[0-9a-f]*){2,7}")
"""How rsyslog and syslog-ng call the log of a host."""
_DATED_DIRECTORY = re.compile(
    rb"""(?:.*/)?(?:(?P<date>(?:19|20)\d\d(?P<s>[-_./]?)(?:0[1-9]|1[0-2])
    (?:(?P=s)|/)(?:0[1-9]|[12]\d|3[01])) (?:[-_/T]?(?P<hour>[01]\d|2[0-3]))?
    |(?P<month>(?:19|20)\d\d[-_./](?:0[1-9]|1[0-2])))/(?:[^/]+/)*?""",
    re.VERBOSE | re.DOTALL,
)


def role_of(
    watch: Watch,
    path: RelativePath,
    siblings: Siblings = NO_SIBLINGS,
    now: datetime = LATEST,
) -> Role | None:
    """Whether the path is rotated or live for the watch; None when the watch does not select it.

    ``now`` is ``earlier_clock``. By default every period is over and nothing stands beside it.
    """
    return role_and_reason(watch, path, siblings, now)[0]


def selection(
    watch: Watch,
    path: RelativePath,
    siblings: Siblings,
    now: datetime,
    live: set[RelativePath] | None = None,
) -> bool | None:
    """Whether the path is rotated; None where that may change without a change of its name.

    With ``live``, so is a path that a drain would take as a live one, which is added there.
    """
    role, because = role_and_reason(watch, path, siblings, now)
    if role is Role.LIVE and live is not None and not is_compressed(path):
        live.add(path)
        return True
    if role is Role.ROTATED:
        return True
    return None if may_change(path) and not because.startswith("excluded") else False


def may_change(path: RelativePath) -> bool:
    """Whether the role may become another one without a change of the name."""
    has_number = rotated_name(path) is not None or numbered(_base(path)) is not None
    return has_number or bool(_directory_periods(path))


def role_and_reason(
    watch: Watch,
    path: RelativePath,
    siblings: Siblings = NO_SIBLINGS,
    now: datetime = LATEST,
) -> Found:
    """As ``role_of``, and why."""
    path = original(path)
    inner = within(watch, path)
    if inner is None:
        return None, f"in no directory that matches {watch.whole_directory}"
    return _by_name(watch, path, inner, siblings, now)


def _live_by(watch: Watch, glob: str) -> str:
    waits = "" if is_shipped_live(watch) else ", so it waits for its rotation"
    return f'live: its name matches live = "{glob}"{waits}'


def _by_name(
    watch: Watch, path: RelativePath, inner: RelativePath, siblings: Siblings, now: datetime
) -> Found:
    """Globs are about the path within the directory that matched, dates about all of it."""
    if glob := matching_glob(watch.exclude, inner):
        return None, f'excluded by "{glob}"'
    named = _by_date(path, siblings, now)
    if glob := matching_glob(watch.include, inner):
        is_live = named is not None and named[0] is Role.LIVE
        return named if named and is_live else (Role.ROTATED, f'included by "{glob}"')
    explicit = tuple(glob for glob in watch.live if glob not in DEFAULT_LIVE)
    if glob := matching_glob(explicit, inner):
        return Role.LIVE, _live_by(watch, glob)
    if not watch.include and (found := named or _by_mark_or_number(path, siblings, now)):
        return found
    one = numbered(_base(path))
    if not watch.include and one is not None and siblings.is_shifting(one.series):
        is_live = is_lowest(one, siblings.names)
        return (Role.LIVE if is_live else Role.ROTATED), "its series shifts"
    if glob := matching_glob(watch.live, inner):
        return Role.LIVE, _live_by(watch, glob)
    if _is_stem(watch, path, siblings):
        return Role.LIVE, "live: the watch ships its rotations"
    because = "no glob of include matches" if watch.include else "no rotator gives such a name"
    return None, because


def may_be_rotated(watch: Watch, path: RelativePath) -> bool:
    """Whether the watch takes this name for a rotated one, depending on what stands beside it."""
    role, because = role_and_reason(watch, path)
    is_open = role is None and not watch.include and not because.startswith("excluded")
    return role is Role.ROTATED or (
        is_open and within(watch, path) is not None and may_change(path)
    )


def is_excluded(watch: Watch, path: RelativePath) -> bool:
    """Whether ``exclude`` names it."""
    inner = within(watch, original(path))
    return inner is not None and bool(matching_glob(watch.exclude, inner))


def may_be_held_open(path: RelativePath, now: datetime) -> bool:
    """Whether a program may well write under this name: today's date, java.util.logging's 0."""
    found = rotated_name(path)
    is_first = found is not None and found.kind is Kind.NUMBER_BEHIND and found.count == b"0"
    return is_first or (found is not None and end_of(periods(found.date), now) is not None)


def _by_date(path: RelativePath, siblings: Siblings, now: datetime) -> Found | None:
    """The role of a path that has a date, in its name or in its directories."""
    found, base = rotated_name(path), _base(path)
    if found is None or found.kind is Kind.NUMBER or _ADDRESS.fullmatch(base):
        return _by_directory(path, now)
    if found.kind is not Kind.DATE or not _is_believed(found, siblings):
        return None
    if found.extension or _is_finished(base, found, siblings, now):
        return Role.ROTATED, _ROTATORS
    return _until_over(_periods_of(found, siblings, now), now, _ROTATORS)


def _by_directory(path: RelativePath, now: datetime) -> Found | None:
    when, base = _directory_periods(path), _base(path)
    name, because = without_compression(base), "its directory's date"
    if not when or not (_is_log(name) or _ADDRESS.fullmatch(name)):
        return None
    return (Role.ROTATED, because) if name != base else _until_over(when, now, because)


def _until_over(when: tuple[Period, ...], now: datetime, because: str) -> Found:
    if end := end_of(when, now):
        return Role.LIVE, f"live until {end:%Y-%m-%d %H:%M} in local time and UTC: {because}"
    return Role.ROTATED, because


def _is_finished(base: bytes, found: RotatedName, siblings: Siblings, now: datetime) -> bool:
    """Whether the name and its siblings say that a dated log is finished within its period."""
    if any(_goes_on(name, base, siblings) for name in (found.stem, _undated(found))):
        return True
    latest = siblings.series(found).latest(now + AHEAD) if now < LATEST else None
    if latest is not None and latest > rank(found):
        return True
    # cronolog and rotatelogs write access_log.20261128 themselves; logrotate renames to "-".
    is_doubtful = b"." not in found.stem and base[len(found.stem) :].startswith(b".")
    is_rotators = found.is_behind and not is_doubtful
    has_seconds = len(re.sub(rb"\D", b"", found.clock)) >= 6
    return found.stem not in siblings.names and (is_rotators or has_seconds)


def _goes_on(undated: bytes, dated: bytes, siblings: Siblings) -> bool:
    """Whether the log is written under its undated name, which is no link and not left over.

    Where a program once wrote to ``laravel.log``, that name may stand there for ever.
    """
    if siblings.names.get(undated) is not False:
        return False
    last, its_last = siblings.mtime_ns(undated), siblings.mtime_ns(dated)
    return last is None or its_last is None or last >= its_last


def _undated(found: RotatedName) -> bytes:
    """Another spelling of the undated name: pm2's ``app__DATE.log`` is ``app.log``'s."""
    name, dot, extension = found.stem.rpartition(b".")
    return name.rstrip(b"-_.") + dot + extension


def _periods_of(found: RotatedName, siblings: Siblings, now: datetime) -> tuple[Period, ...]:
    """The hour of ``-12`` may be a count: then the log's day is its period."""
    if found.date.isalpha():
        return weekday(found.date, now)
    hour = re.fullmatch(rb"[-_.]([1-9]\d)", found.clock)
    is_count = hour and found.date in siblings.series(found).counted
    return periods(found.date, b"" if is_count else found.clock)


def _by_mark_or_number(path: RelativePath, siblings: Siblings, now: datetime) -> Found | None:
    found = rotated_name(path)
    if found is None or found.kind is Kind.DATE or not _is_believed(found, siblings):
        return None
    if found.kind is Kind.NUMBER and not _has_series(found, siblings):
        return None
    if found.kind is Kind.NUMBER_BEHIND and not found.extension:
        # ``app.log.1`` is finished. Of a dated log, the highest number may be the one written.
        dated = _by_date(RelativePath(found.stem), siblings, now)
        if dated is not None and dated[0] is Role.LIVE:
            is_last = int(found.count) >= siblings.series(found).highest
            return dated if is_last else (Role.ROTATED, _ROTATORS)
    return Role.ROTATED, _ROTATORS


def _has_series(found: RotatedName, siblings: Siblings) -> bool:
    """Whether a number in the name is a rotation's: its log, or a compressed one, is beside it."""
    if found.extension or found.stem in siblings.names:
        return True
    series = siblings.series(found)
    return series.latest_year > found.count if found.is_bold else series.has_compressed


def _is_believed(found: RotatedName, siblings: Siblings) -> bool:
    """Whether the rest of the name is a log's, as far as its form leaves a doubt."""
    if _NO_LOG.fullmatch(found.stem):
        return False
    if not found.is_behind or _is_log(found.stem) or found.stem in siblings.names:
        return True
    if found.kind is Kind.NUMBER_BEHIND:
        inner = rotated_name(RelativePath(found.stem))
        is_dated = inner is not None and inner.kind is Kind.DATE
        return is_dated or (found.extension not in (b"", *ARCHIVES) and not found.is_bold)
    return not found.is_bold and found.extension not in ARCHIVES


def _is_log(name: bytes) -> bool:
    """Whether a name without a date or number looks like a log's."""
    return bool(_LOG.fullmatch(name) or _EVIDENT.fullmatch(name)) and not _NO_LOG.fullmatch(name)


def _is_stem(watch: Watch, path: RelativePath, siblings: Siblings) -> bool:
    """Whether the watch ships the rotations of this log: those that are there, or would be."""
    above, slash, base = path.rpartition(b"/")
    if _LOG.fullmatch(base) and not _NO_LOG.fullmatch(base):
        names = (base + b".1", base + b"-20261124")
        if any(_is_shipped(watch, above + slash + name, NO_SIBLINGS) for name in names):
            return True
    return any(
        _is_shipped(watch, above + slash + name, siblings)
        for name in siblings.rotations(base)
        if name != base
    )


def _is_shipped(watch: Watch, path: bytes, siblings: Siblings) -> bool:
    """Decided without the live names, which depend on this."""
    inner = within(watch, RelativePath(path))
    if inner is None or matching_glob(watch.exclude, inner):
        return False
    if watch.include:
        return bool(matching_glob(watch.include, inner))
    found = rotated_name(RelativePath(path))
    return found is not None and _is_believed(found, siblings)


def _directory_periods(path: RelativePath) -> tuple[Period, ...]:
    """The period of ``2024/01/01/05/``, ``20240101/`` and the like above a file."""
    above = path[: path.rfind(b"/") + 1]
    found = _DATED_DIRECTORY.fullmatch(above)
    if found is None:
        return ()
    return periods(found["date"] or found["month"], found["hour"] or b"")


def _base(path: bytes) -> bytes:
    return path[path.rfind(b"/") + 1 :]


def overlap(one: Watch, other: Watch) -> bool:
    """Whether both would ship the same file, as far as names can tell.

    Their directories are real paths. What one of them archives is seen as a watch of its archive.
    """
    pairs = [(one, other), (_of_archive(one), other), (_of_archive(other), one)]
    return any(left is not None and _meet(left, right) for left, right in pairs)


def _of_archive(watch: Watch) -> Watch | None:
    directory = watch.archive_directory
    return replace(watch, directory=directory, pattern="", recursive=True) if directory else None


def _meet(one: Watch, other: Watch) -> bool:
    inner, outer = sorted((one, other), key=lambda watch: len(_names(watch)), reverse=True)
    names, top = _names(inner), _names(outer)
    rest = names[len(top) :]
    if not all(map(_may_be_one, names, top)) or (rest and not outer.recursive):
        return False
    way = b"".join(
        _filled(name, "x") if wild else name.encode("utf-8", "surrogateescape")
        for name, wild in rest
    )
    inner, outer = replace(inner, pattern=""), replace(outer, pattern="")
    return any(
        role_of(inner, RelativePath(name))
        is role_of(outer, RelativePath(way + name))
        is Role.ROTATED
        for name in _examples((*inner.include, *outer.include))
    )


def _names(watch: Watch) -> list[tuple[str, bool]]:
    """The names that lead to the watch's logs, with a slash behind each, and which are globs."""
    fixed = [(f"{name}/", False) for name in watch.directory.split("/") if name]
    globs = [name for name in watch.pattern.split("/") if name]
    return fixed + [(f"{name}/", is_wild(name)) for name in globs]


def _may_be_one(one: tuple[str, bool], other: tuple[str, bool]) -> bool:
    """Whether both names may be those of one directory."""
    globs = [name if is_glob else escape(name) for name, is_glob in (one, other)]
    return may_share(*globs)


def _examples(globs: tuple[str, ...]) -> Iterator[bytes]:
    """Names that may match: those of rotators, of each glob, and of every two globs together."""
    yield from _ROTATED_EXAMPLES
    lasts = [glob.rpartition("/")[2] for glob in globs]
    for glob in (*globs, *lasts):
        for filling in ("x", "1", "app.log.1"):
            yield _filled(glob, filling)
    for one, other in itertools.permutations(lasts, 2):  # "*.gz" and "x.*": "x.1.gz"
        for filling in (other, other.replace("*", "1"), f"{other}1"):
            yield _filled(one.replace("*", filling, 1), "1")
        yield _filled(f"{one.partition('*')[0]}.1{other.rpartition('*')[2]}", "1")


def _filled(glob: str, filling: str) -> bytes:
    text = re.sub(r"\[!?(.)[^]]*\]", r"\1", glob.replace("**/", ""))
    return (
        text.replace("**", filling)
        .replace("*", filling)
        .replace("?", "1")
        .encode("utf-8", "surrogateescape")
    )


_ROTATED_EXAMPLES = tuple(
    name + extension
    for name in (b"app.log.1", b"app.log-20261124", b"app-2026-11-24.log", b"app.log.old")
    for extension in (b"", *COMPRESSED_EXTENSIONS)
)

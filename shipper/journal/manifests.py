"""What manifests are to say, and the one of each destination that is to be sent.

An event that changes ``Shipment.listed`` enters the shipment into ``unlisted``, in its own
transaction. A cut takes entries out and keeps the manifest that says them, in one transaction too.
So each is said once, whatever happens, and what is sent after a crash are the same bytes. Nothing
else is cut before that manifest is in S3, so the chain in ``meta`` ends with what S3 has.

A manifest is two zstd frames, its header and its entries: where the header has to be another one,
nothing is decoded.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace

from shipper.core.manifests import (
    MOST_BYTES,
    MOST_ENTRIES,
    Beginning,
    Chain,
    another_epoch,
    begun,
    chain_from,
    header_of,
    instant,
    line_from,
)
from shipper.core.object_keys import source_path
from shipper.core.types import WatchName
from shipper.journal import statements as sql
from shipper.journal.database import Database, Run
from shipper.journal.meta import DELETE_META, INSERT_META, SELECT_META

SELECT_CHAINS = "SELECT name FROM meta WHERE name GLOB 'chain of *'"
UPDATE_CHAINS_LOST = """
UPDATE meta SET value = json_set(value, '$.is_lost', json('true'))
WHERE name GLOB 'chain of *' AND json_valid(value)
"""
UPDATE_META_NAME = "UPDATE meta SET name = ? WHERE name = ?"
SELECT_UNLISTED_NAMES = """
SELECT DISTINCT destination FROM unlisted UNION SELECT destination FROM manifests
"""
UPDATE_CHAINS_OFF = UPDATE_CHAINS_LOST.replace("is_lost", "is_off")
_JOURNAL_BEGINS = "journal begins"
_OFF = "manifests off"
"""Since when."""
CLOCK_SECONDS = 86_400.0
_FIRST_NAMES = "first destinations"
"""That were configured when the journal began: what came later is new."""
JOURNAL_BEGAN_AT = "journal began at"
FULL = "full"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that S3 may not have yet."""

    number: int
    sha256: str
    until_at: float
    because: str
    entries: int
    head_bytes: int
    """How many bytes the header's frame has."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Wording:
    """What manifests are written with."""

    version: str
    configuration: str
    """Its SHA-256."""
    interval_seconds: float
    directories: Mapping[WatchName, str]
    """Of the watches."""
    frame: Callable[[bytes], bytes]
    """Compresses."""


class Manifests:
    """A part of the journal, in the same file: of one destination, but for ``begin``."""

    def __init__(self, database: Database, destination: str = "") -> None:
        self._database = database
        self._destination = destination

    def of(self, destination: str) -> "Manifests":
        """The same, of another destination."""
        return Manifests(self._database, destination)

    def journal_begins(self, because: str, now: float) -> None:
        """Note that this is no journal that goes on; what an older copy of it says is history."""
        with self._database.transaction() as run:
            run(INSERT_META, (_JOURNAL_BEGINS, because))
            run(DELETE_META, (_FIRST_NAMES,))
            run(INSERT_META, (JOURNAL_BEGAN_AT, str(now)))
            run(UPDATE_CHAINS_LOST, ())

    def switch_off(self, now: float) -> None:
        """Nothing is to be told from now on, until chains ``begin``."""
        with self._database.transaction() as run:
            if run(SELECT_META, (_OFF,)).fetchone() is None:
                run(INSERT_META, (_OFF, str(now)))
                run(INSERT_META, (_JOURNAL_BEGINS, "manifests were off"))
                run(DELETE_META, (_FIRST_NAMES,))
                run(UPDATE_CHAINS_OFF, ())
        self._database.enters = False

    def begin(
        self,
        beginnings: Mapping[str, Beginning],
        wording: Wording,
        names: Collection[str],
    ) -> list[tuple[str, Chain]]:
        """Begin a chain for each destination that has none which can go on: these.

        ``names`` are those of all destinations of today. What was to be told of objects of another
        bucket or prefix, or of another machine, is told in no manifest of this chain.
        """
        found = []
        with self._database.transaction() as run:
            _switch_on(run)
            _hand_over(run, beginnings, names)
            for name, beginning in beginnings.items():
                before = _chain(run, name)
                if before is not None and before.instance and not _is_of(before, beginning):
                    before = _without(run, name, before, beginning)
                chain = begun(before, beginning, _how(run, name, names))
                if chain is None:
                    continue
                _keep(run, name, chain)
                _rewrite(run, name, chain, wording)
                found.append((name, chain))
        return found

    def leave_out(self, names: Collection[str]) -> dict[str, int]:
        """Tell nothing more of what was to be told of destinations that are none of these.

        How many entries that are; if such a destination is back, its next epoch says so.
        """
        found = {}
        with self._database.transaction() as run:
            rows = run(SELECT_UNLISTED_NAMES, ()).fetchall()
            for name in (name for (name,) in rows if name not in names):
                waiting = _waiting(run, name)
                left = run(sql.DELETE_UNLISTED_OF, (name,)).rowcount
                run(sql.DELETE_MANIFEST, (name,))
                found[name] = left + (waiting.entries if waiting is not None else 0)
                run(sql.ADD_GAP, (found[name], _name_of(name)))
        return found

    def chain(self) -> Chain | None:
        """The chain as S3 has it; None before the first."""
        with self._database.transaction() as run:
            return _chain(run, self._destination)

    def pending(self) -> int:
        """How many shipments the next manifests are to tell of."""
        return int(self._database.query(sql.SELECT_UNLISTED_FILES, self._destination)[0][0])

    def waiting(self) -> Manifest | None:
        """The manifest that is to be sent."""
        rows = self._database.query(sql.SELECT_MANIFEST, self._destination)
        return Manifest(*rows[0]) if rows else None

    def cut(self, now: float, because: str, wording: Wording) -> Manifest:
        """Make the chain's next manifest, of all that is to be told or of as much as fits.

        There must be a chain, and none waiting.
        """
        name = self._destination
        with self._database.transaction() as run:
            chain = _required(run, name)
            until_at = max(now, chain.until_at)
            rows = run(sql.SELECT_UNLISTED, (instant(until_at), name, MOST_ENTRIES + 1))
            lines, last, is_full = _lines(rows, wording.directories)
            run(sql.DELETE_UNLISTED_UP_TO, (name, last))
            tail = wording.frame(b"".join(lines)) if lines else b""
            why = FULL if is_full else because
            return _written(run, name, chain, (until_at, why, len(lines), tail), wording)

    def restart(self, beginning: Beginning, because: str, wording: Wording) -> Chain:
        """Begin another chain with the entries of the manifest that waits."""
        name = self._destination
        with self._database.transaction() as run:
            chain = another_epoch(_required(run, name), beginning, because)
            _keep(run, name, chain)
            _rewrite(run, name, chain, wording)
        return chain

    def going_out(self, manifest: Manifest) -> bool:
        """Note that a write of it may have reached S3 from now on; whether none has so far."""
        with self._database.transaction() as run:
            chain = _required(run, self._destination)
            _keep(run, self._destination, replace(chain, sending=manifest.sha256))
        return chain.sending != manifest.sha256

    def stored(self, manifest: Manifest, now: float) -> Chain:
        """S3 has the manifest that waited."""
        name = self._destination
        with self._database.transaction() as run:
            chain = replace(
                _required(run, name),
                number=manifest.number,
                sha256=manifest.sha256,
                until_at=manifest.until_at,
                stored_at=now,
            )
            _keep(run, name, chain)
            run(sql.DELETE_MANIFEST, (name,))
        return chain


def _how(run: Run, name: str, names: Collection[str]) -> str:
    """How the chain of a destination begins that has none: with the journal, or later."""
    row = run(SELECT_META, (_JOURNAL_BEGINS,)).fetchone()
    first = run(SELECT_META, (_FIRST_NAMES,)).fetchone()
    if first is None:
        run(INSERT_META, (_FIRST_NAMES, json.dumps([*names])))
    is_first = row is not None and (first is None or name in json.loads(first[0]))
    return str(row[0]) if is_first else "the destination is new"


def _switch_on(run: Run) -> None:
    """Have told what became of shipments while manifests were off, as far as it is known. What
    was told in the day before is told again, as the clock may have been corrected."""
    row = run(SELECT_META, (_OFF,)).fetchone()
    if row is not None:
        run(sql.INSERT_ALL_UNLISTED, (float(row[0]) - CLOCK_SECONDS,))
        run(DELETE_META, (_OFF,))


def _hand_over(run: Run, beginnings: Mapping[str, Beginning], names: Collection[str]) -> None:
    """Let a chain go on under its destination's new name."""
    olds = [name.removeprefix(_name_of("")) for (name,) in run(SELECT_CHAINS, ()).fetchall()]
    for name, beginning in beginnings.items():
        for old in [] if _chain(run, name) is not None else olds:
            before = _chain(run, old)
            if old not in names and before is not None and _is_of(before, beginning):
                run(UPDATE_META_NAME, (_name_of(name), _name_of(old)))
                run(sql.UPDATE_UNLISTED_NAME, (name, old))
                run(sql.UPDATE_MANIFEST_NAME, (name, old))
                break


def _is_of(chain: Chain, beginning: Beginning) -> bool:
    mine = beginning.instance, beginning.destination
    return (chain.instance, chain.destination) == mine


def _without(run: Run, name: str, before: Chain, beginning: Beginning) -> Chain:
    """The chain before, once what is elsewhere is taken out, and counted."""
    waiting = _waiting(run, name)
    run(sql.DELETE_MANIFEST, (name,))
    left = waiting.entries if waiting is not None else 0
    if before.instance == beginning.instance:  # else the journal was adopted
        left += run(sql.DELETE_UNLISTED_OBJECTS, (name,)).rowcount
    return replace(before, gap=before.gap + left)


def _rewrite(run: Run, name: str, chain: Chain, wording: Wording) -> None:
    """Let the manifest that waits, if one does, be the chain's next."""
    waiting = _waiting(run, name)
    if waiting is not None:
        until_at = max(waiting.until_at, chain.until_at)
        tail = waiting.body[waiting.head_bytes :]
        content = until_at, waiting.because, waiting.entries, tail
        _written(run, name, chain, content, wording)


def _waiting(run: Run, name: str) -> Manifest | None:
    row = run(sql.SELECT_MANIFEST, (name,)).fetchone()
    return Manifest(*row) if row is not None else None


def _lines(
    rows: Iterable[tuple[int, WatchName, bytes, str]], directories: Mapping[WatchName, str]
) -> tuple[list[bytes], int, bool]:
    """The entries, the last row's id, and whether there are more rows."""
    lines, size, last = list[bytes](), 0, 0
    for shipment, watch, path, entry in rows:
        if len(lines) == MOST_ENTRIES or size > MOST_BYTES:
            return lines, last, True
        where = source_path(directories[watch], path) if watch in directories else ""
        line = f'{entry[:-1]},"path":"{where or source_path("", path)[1:]}"}}\n'.encode()
        lines.append(line)
        size += len(line)
        last = shipment
    return lines, last, False


def _written(
    run: Run, name: str, chain: Chain, content: tuple[float, str, int, bytes], wording: Wording
) -> Manifest:
    until_at, because, entries, tail = content
    header = header_of(
        chain,
        until_at=until_at,
        because=because,
        interval_seconds=wording.interval_seconds,
        version=wording.version,
        configuration=wording.configuration,
        entries=entries,
    )
    head = wording.frame(line_from(header))
    body = head + tail
    digest = hashlib.sha256(body).hexdigest()
    manifest = Manifest(chain.number + 1, digest, until_at, because, entries, len(head), body)
    run(sql.INSERT_MANIFEST, (name, *(getattr(manifest, one.name) for one in fields(manifest))))
    return manifest


def _required(run: Run, name: str) -> Chain:
    chain = _chain(run, name)
    assert chain is not None
    return chain


def _chain(run: Run, name: str) -> Chain | None:
    row = run(SELECT_META, (_name_of(name),)).fetchone()
    return chain_from(row[0]) if row is not None else None


def _keep(run: Run, name: str, chain: Chain) -> None:
    run(INSERT_META, (_name_of(name), json.dumps(asdict(chain))))


def _name_of(destination: str) -> str:
    return f"chain of {destination}"

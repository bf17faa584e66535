"""The chains of a bucket's manifests, read and followed; what they say goes into a spill."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from shipper.archive.buckets import ReadBucket
from shipper.archive.entry_spill import EntrySpill
from shipper.archive.heartbeat_words import HeartbeatWords
from shipper.archive.key_reading import KeyReader
from shipper.archive.stored_manifests import Decode, Entry, digest_of, links
from shipper.core.archived import ArchivedObject
from shipper.core.chains import Epoch, Limits, entry_problem, followed, newest_of
from shipper.core.epochs import Word, instance_findings, with_cut_tail, word_finding, words_of
from shipper.core.findings import Code, Finding
from shipper.core.key_owners import instance_directory, is_anothers
from shipper.core.manifests import DIRECTORY, LossEntry, ManifestName, name_from_key
from shipper.core.object_keys import fact

_MOST_IMPOSSIBLE = 100
"""Entries of one manifest that are named; who writes one may write millions."""
_MOST_DIRECTORIES = 10_000
_STRAY = "it lies among manifests and is none"


@dataclass(frozen=True, slots=True)
class Scope:
    """What is audited. Instances are ids as EC2 has them; none of them: all there are."""

    limits: Limits
    since: float = 0.0
    instances: tuple[str, ...] = ()
    expected: frozenset[str] = frozenset()
    sample_percent: float = 0.0
    seed: str = ""


@dataclass(slots=True)
class Counts:
    """How far it is, and in the end what there was."""

    instances: int = 0
    epochs: int = 0
    manifests: int = 0
    entries: int = 0
    losses: dict[str, int] = field(default_factory=dict)
    objects: int = 0
    bytes: int = 0
    named: int = 0
    """Objects that manifests name, and that were looked for."""
    missing: int = 0
    """Of these, those that are not there."""
    altered: int = 0
    """Of these, those of another size or ETag."""
    matched: int = 0
    by_size: int = 0
    """Of these, those that were compared by their size alone: the server has no ETags."""
    outside: int = 0
    """Entries of objects that are not listed here: they are in no place of this configuration."""
    unentered: dict[str, int] = field(default_factory=dict)
    """Objects without an entry for which there is a good reason, by ``core.chains.Unentered``."""
    too_old: int = 0
    """Entries and objects from before ``since`` that were not compared."""
    compared: int = 0
    compared_bytes: int = 0
    not_restored: int = 0
    without_digest: int = 0


class AuditedChains:
    """``epochs`` are by instance, as they began; ``numbers`` are those that the spill has."""

    def __init__(
        self, bucket: ReadBucket, scope: Scope, decode: Decode, spill: EntrySpill, counts: Counts
    ) -> None:
        self.keys = KeyReader(bucket)
        self.epochs: dict[str, list[Epoch]] = {}
        self.numbers: dict[str, int] = {}
        self.directories: set[str] = set()
        """Where the logs of the instances that are asked for are, by their entries."""
        self._archive = bucket.archive
        self._prefix = bucket.prefix
        self._here = f"{bucket.name}/{bucket.prefix}"
        self._known = frozenset[str]()
        self._heartbeats = HeartbeatWords(bucket)
        self._scope = scope
        self._decode = decode
        self._spill = spill
        self._counts = counts

    def findings(self) -> Iterator[Finding]:
        """Everything that is wrong about manifests; then ``epochs`` and the spill are whole."""
        wanted = frozenset(map(fact, self._scope.instances))
        yield from self._heartbeats.find(self._scope.since, wanted)
        instances = [*(sorted(wanted) or self._written())]
        self._known = frozenset(instances)
        if not wanted:
            yield from self._strays()
        for instance in instances:
            yield from self._chains(instance)
        expected = {fact(one) for one in self._scope.expected}
        for instance, epochs in self.epochs.items():
            yield from instance_findings(
                epochs,
                self._scope.limits,
                is_expected=instance in expected,
                here=self._here,
            )
            known = {epoch.name for epoch in epochs}
            before = [word for word in words_of(epochs) if word.epoch in known]
            yield from self._told_of(instance, before)

    def _written(self) -> Iterator[str]:
        top = f"{self._prefix}{DIRECTORY}instance="
        for directory in self._archive.directories(f"{self._prefix}{DIRECTORY}"):
            if directory.startswith(top):
                yield directory.removeprefix(top).removesuffix("/")

    def _strays(self) -> Iterator[Finding]:
        """What is in the directory of manifests, and in none of an instance."""
        top = f"{self._prefix}{DIRECTORY}"
        for after in ("", f"{top}instance>"):  # which comes next behind "instance=..."
            for stored in self._archive.listed(top, after=after):
                if stored.key.startswith(f"{top}instance="):
                    break
                yield Finding(Code.STRAY_KEY, "", stored.key, _STRAY)

    def _chains(self, instance: str) -> Iterator[Finding]:
        number = self.numbers.setdefault(instance, len(self.numbers))
        wrong = list[Finding]()

        def found(name: ManifestName, entry: Entry) -> None:
            self._take(number, name, entry, wrong)

        words = self._heartbeats.of(instance)  # before the listing: the chain can only be newer
        epochs = dict[str, Epoch]()
        names = self._manifests(instance, wrong)
        for link in links(self._archive, names, self._decode, found):
            self._counts.manifests += 1
            epochs[link.name.epoch], broken = followed(
                epochs.get(link.name.epoch), link, is_partial=self._scope.limits.is_partial
            )
            yield from broken
            yield from wrong
            wrong.clear()
        yield from wrong
        if epochs:
            self._counts.instances += 1
            self._counts.epochs += len(epochs)
            self.epochs[instance] = sorted(epochs.values(), key=lambda epoch: epoch.from_)
            yield from self._told_of(instance, words)

    def _told_of(self, instance: str, words: Iterable[Word]) -> Iterator[Finding]:
        """Which of the manifests that somebody knew are missing, or are others."""
        epochs = self.epochs[instance]
        numbers = {epoch.name: at for at, epoch in enumerate(epochs)}
        for word in words:
            at = numbers.get(word.epoch)
            epoch = None if at is None else epochs[at]
            found = word_finding(instance, word, epoch, self._digest(word, epoch))
            if found is not None:
                yield found
                at = epochs.index(newest_of(epochs)) if at is None else at
                epochs[at] = with_cut_tail(epochs[at], word)

    def _digest(self, word: Word, epoch: Epoch | None) -> str:
        """The SHA-256 of the manifest that is there; empty where it is not to be judged."""
        if epoch is None or word.number > epoch.number:
            return ""
        if word.number == epoch.number:
            return epoch.sha256 if epoch.is_sound else ""
        name = ManifestName(self._prefix, epoch.instance, epoch.name, word.number)
        return digest_of(self._archive, name)

    def _manifests(
        self, instance: str, wrong: list[Finding]
    ) -> Iterator[tuple[ManifestName, ArchivedObject]]:
        """Those since the time that is asked for, and the one before: it tells how they go on."""
        prefix, last, older = self._prefix, "", None
        for stored in self._archive.listed(f"{prefix}{DIRECTORY}instance={instance}/"):
            name = name_from_key(stored.key)
            if name is None or name.prefix != prefix:
                wrong.append(Finding(Code.STRAY_KEY, instance, stored.key, _STRAY))
            elif stored.modified_at >= self._scope.since or name.epoch == last:
                if older is not None:
                    yield older
                last, older = name.epoch, None
                yield name, stored
            else:
                older = name, stored
        if older is not None:
            yield older

    def _take(self, number: int, name: ManifestName, entry: Entry, wrong: list[Finding]) -> None:
        problem = entry_problem(entry, self._prefix) or self._not_its_own(name, entry)
        if problem:
            detail = f"it names {entry.key[:200]!r}: {problem}"
            if len(wrong) < _MOST_IMPOSSIBLE:
                wrong.append(Finding(Code.IMPOSSIBLE_ENTRY, name.instance, name.key, detail))
            return
        if isinstance(entry, LossEntry):
            tally(self._counts.losses, entry.loss)
        self._counts.entries += 1
        beginning = self.keys.beginning(entry.key)
        if beginning is None:
            self._counts.outside += 1
            return
        self._spill.add(number, entry)
        if self._scope.instances:
            self._add_directory(instance_directory(entry.key, beginning, name.instance), beginning)

    def _not_its_own(self, name: ManifestName, entry: Entry) -> str:
        """Of an entry that speaks of another instance's log."""
        beginning = self.keys.beginning(entry.key)
        if beginning is None:
            return ""
        told = self.keys.told(entry.key)
        says = None if told is None else fact(told.instance)
        is_wrong = is_anothers(entry.key, beginning, name.instance, says, self._known)
        return "it is another instance's" if is_wrong else ""

    def _add_directory(self, directory: str, beginning: str) -> None:
        full = len(self.directories) >= _MOST_DIRECTORIES
        self.directories.add(beginning if full else directory)


def tally(counts: dict[str, int], one: str) -> None:
    counts[one] = counts.get(one, 0) + 1

"""The whole story: what a fleet ships under faults and kills is found, proved and read again.

Four machines write into one bucket behind a proxy that refuses, delays and loses answers. Their
daemons are killed; one loses its journal, one is cloned, one stops for good. What is done to the
bucket then is named by each command that should, and nothing else is.
"""

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zstandard

from shipper.core.manifests import ObjectEntry
from shipper.mock.imds import Facts, MockImds
from tests.fakes.proxy import Proxy
from tests.fakes.servers import REGION, Moto
from tests.machines.auditor import Auditor
from tests.machines.fleet import Archive, Faults, Host
from tests.machines.instance import Instance
from tests.machines.waiting import wait_for
from tests.programs import eager

BUCKET = "the-whole-story"
LIVE, PACKED, HIVE, CLONE, ABSENT = (f"i-{number:017x}" for number in range(10, 15))
INTERVAL_SECONDS = 3
SLACK_SECONDS = 10
"""So an instance is silent after 16 s, or 13 s after a stop; one that writes every 3 s is not."""
MORE = f'[manifest]\ninterval = "{INTERVAL_SECONDS}s"\n[fleet]\nheartbeat = "1h"\n'
NEW_EPOCH = {("new-epoch", HIVE, "")}
ENDED = NEW_EPOCH | {("ended", PACKED, ""), ("never-wrote", ABSENT, "")}


class Story:
    """The fleet: ``live`` is rotated by logrotate and shipped in segments, ``packed`` is shipped
    with gzip, ``hive`` with Hive's keys, and removed then. ``clone`` is made of ``live``'s."""

    def __init__(self, stack: ExitStack, directory: Path, moto: Moto, logrotate: str) -> None:
        moto.create_bucket(BUCKET)
        self.archive, self.faults = Archive(moto, BUCKET), Faults()
        self._stack, self._directory, self._logrotate = stack, directory, logrotate
        self._s3 = stack.enter_context(Proxy(moto, self.faults.refuse, self.faults.loses)).moto
        self.live = self._host(LIVE, 'live_bytes = "64KiB"')
        self.packed = self._host(PACKED, 'compression = "gzip"')
        self.hive = self._host(
            HIVE, 'after_upload = "delete"\ndelete_after = "0s"', 'key = "hive"'
        )
        self.hosts = [self.live, self.packed, self.hive]

    def _host(self, instance_id: str, watch: str, to: str = "") -> Host:
        imds = self._stack.enter_context(MockImds(Facts(instance_id=instance_id, region=REGION)))
        directory = self._directory / instance_id
        machine = Instance(directory, self._s3, imds, watch=watch, more=MORE, bucket=BUCKET)
        text = machine.config.read_text()
        machine.config.write_text(text.replace("[[watch]]", f"{to}\n[[watch]]", 1))
        machine.confined_by = [sys.executable, eager.__file__]
        self._stack.callback(machine.end)
        return Host(machine, self.archive)

    def ship(self) -> None:
        """Logs, under faults and kills."""
        for host in self.hosts:
            host.machine.start()
        for number in range(3):
            for count in range(3):
                self.packed.write(number * 3 + count)
                self.hive.write(number * 3 + count)
                self.live.append()
            self.hosts[number].cycle()
            self.live.append()
            self.live.rotate(self._logrotate)

    def clone_one(self) -> None:
        """Copy the state of one that was killed at work to another machine; both go on."""
        self.live.append()
        self.live.machine.kill()
        self.clone = self._host(CLONE, 'live_bytes = "64KiB"')
        self.hosts.append(self.clone)
        state = self.live.machine.directory / "state"
        no_sockets = shutil.ignore_patterns("*.sock")
        shutil.copytree(state, self.clone.machine.directory / "state", ignore=no_sockets)
        self.live.machine.start()
        self.clone.machine.start()

    def lose_a_journal(self) -> None:
        """Of one that is killed at work, and has told something before."""
        hive = self.hive.machine
        self.hive.write(50)
        hive.wait_for(lambda: self.archive.manifests(HIVE), "the epoch that ends here")
        hive.kill()
        shutil.rmtree(hive.directory / "state")
        # A listing has whole seconds; the unit, too, waits before it restarts.
        killed = time.monotonic()
        wait_for(lambda: time.monotonic() > killed + 1, "another second")
        hive.start()

    def go_on(self) -> None:
        """All ship, and are killed once more; then the faults are over."""
        for number in range(60, 63):
            self.clone.append()
            self.hive.write(number)
            self.packed.write(number)
        self.live.append_a_segment()
        self.live.append_a_segment()
        self.live.append()
        self.live.rotate(self._logrotate)
        self.clone.rotate(self._logrotate)
        self.faults.are_over = True
        for host in self.hosts:
            host.cycle()
            host.settle()
            host.wait_until_well()

    def stop_one(self) -> list[str]:
        """Ship a last log, much later, and stop for good; the manifests since it was quiet."""
        told = self.archive.manifests(PACKED)
        begun = time.monotonic()
        quiet_seconds = SLACK_SECONDS + INTERVAL_SECONDS
        wait_for(lambda: time.monotonic() > begun + quiet_seconds, "more than the slack")
        self.packed.write(70)
        self.packed.settle()
        assert self.packed.machine.stop() == 0
        return self.archive.manifests(PACKED)[len(told) :]

    def expected(self, *others: str) -> tuple[str, str]:
        """``--expect`` with all ids."""
        path = self._directory / "ids"
        path.write_text("\n".join([*(host.id for host in self.hosts), *others]))
        return "--expect", str(path)


@pytest.fixture
def story(tmp_path: Path, moto: Moto, logrotate: str) -> Iterator[Story]:
    with ExitStack() as stack:
        yield Story(stack, tmp_path, moto, logrotate)


@pytest.fixture
def auditor(
    story: Story, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Auditor:
    return Auditor(story.archive, capsysbinary, monkeypatch, slack_seconds=SLACK_SECONDS)


@pytest.mark.system
@pytest.mark.lengthy
@pytest.mark.timeout(600)
def test_what_is_done_to_the_archive_of_a_fleet_is_named_and_the_rest_comes_back_byte_for_byte(
    story: Story, auditor: Auditor, tmp_path: Path
) -> None:
    story.ship()
    story.clone_one()
    story.lose_a_journal()
    story.go_on()
    assert all(story.faults.counts.values())
    for host in story.hosts:
        assert auditor.host(host, code=0) == []
    assert auditor.manifests(code=0) == NEW_EPOCH
    states = {host.id: ("well", False) for host in story.hosts}
    assert auditor.fleet(*story.expected(), code=0) == states

    tail = story.stop_one()
    stopped = NEW_EPOCH | {("stopped", PACKED, "")}
    wait_for(lambda: auditor.manifests(code=0) == stopped, "the silence to be long")
    assert auditor.manifests(*story.expected(ABSENT), code=1) == ENDED
    states |= {PACKED: ("stopped", True), ABSENT: ("never wrote", True)}
    assert auditor.fleet(*story.expected(ABSENT), code=1) == states
    for host in story.hosts:
        assert auditor.host(host, code=0) == []
        assert auditor.cat(host, code=0) == (b"".join(host.logs), "")
        assert auditor.fetch(host, tmp_path / "before", code=0) == (host.logs, "")

    segment = last_but_one(story.archive.entries(LIVE))
    (altered,) = [key for key in story.archive.keys(HIVE) if "/job-061." in key]
    other = story.hive.logs[-2][::-1]
    story.archive.delete(segment.key, *tail)
    story.archive.alter(altered, zstandard.compress(other))

    assert auditor.manifests(*story.expected(ABSENT), code=1) == ENDED | {
        ("missing-object", LIVE, segment.key),
        ("altered-object", HIVE, altered),
        ("cut-tail", PACKED, ""),
    }
    assert auditor.fleet(*story.expected(ABSENT), code=1) == states
    for host in (story.packed, story.clone):
        assert auditor.host(host, code=0) == []
        assert auditor.cat(host, code=0) == (b"".join(host.logs), "")
        assert auditor.fetch(host, tmp_path / "after", code=0) == (host.logs, "")
    assert auditor.host(story.live, code=1) == [("missing", segment.key)]
    assert auditor.host(story.hive, code=1) == [("altered", altered)]
    require_all_but_the_segment(auditor, story.live, segment, tmp_path / "after")
    require_all_but_the_altered(auditor, story.hive, altered, other, tmp_path / "after")


def last_but_one(entries: list[ObjectEntry]) -> ObjectEntry:
    """The last segment but one of the last log; it is not the first."""
    last = max(entries, key=lambda one: one.mtime_ns)
    own = {one.raw_start: one for one in entries if one.inode == last.inode}
    *_, found, _ = (own[start] for start in sorted(own) if start)
    return found


def require_all_but_the_segment(
    auditor: Auditor, host: Host, segment: ObjectEntry, into: Path
) -> None:
    """The last log ends where its segment is missing, as is said."""
    *whole, last = host.logs
    out, said = auditor.cat(host, code=1)
    assert out == b"".join([*whole, last[: segment.raw_start]])
    files, said_of_files = auditor.fetch(host, into, code=1)
    assert files == whole
    missing = f"bytes {segment.raw_start} to {segment.raw_end} are missing"
    for text in (said, said_of_files):
        assert missing in text
        assert text.count("shipper: ") == 1


def require_all_but_the_altered(
    auditor: Auditor, host: Host, altered: str, other: bytes, into: Path
) -> None:
    """What the last log but one holds now is given out by ``cat``, which says what it is."""
    *whole, _, last = host.logs
    out, said = auditor.cat(host, code=1)
    assert out == b"".join([*whole, other, last])
    files, said_of_files = auditor.fetch(host, into, code=1)
    assert files == [*whole, last]
    for text in (said, said_of_files):
        assert f"{altered}: it is not what its manifest says" in text
        assert text.count("shipper: ") == 1

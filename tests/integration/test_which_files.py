"""Which files a watch takes: globs in its directory, age, size, and the log that does not come."""

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.config.load import load
from shipper.core.globs import split_directory
from shipper.core.scan_cache import ScanCache
from shipper.core.types import Entry, Watch
from shipper.edges.files.directory_files import DirectoryFiles
from shipper.ports import PortError
from shipper.reports.checks import probes
from tests.machines.here import Here
from tests.machines.instance import Instance
from tests.machines.machine import (
    NOBODY,
    descriptors_left,
    descriptors_open,
    public_directory,
    unprivileged,
)
from tests.machines.mounted import served

Make = Callable[..., Instance]
DAY_SECONDS = 86_400.0
WATCH = Watch(directory="/")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def globbed(made: Instance, directory: str) -> Instance:
    """The machine, with a watch of this directory below its logs'."""
    text = made.config.read_text()
    made.config.write_text(text.replace(f'"{made.logs}"', f'"{made.logs}/{directory}"'))
    return made


def aged(path: Path, days: float) -> Path:
    at = time.time() - days * DAY_SECONDS
    os.utime(path, (at, at))
    return path


def test_directories_that_match_are_shipped_also_one_that_comes_later(
    instance: Make, here: Here
) -> None:
    machine = globbed(instance(), "*/log")
    machine.write("a/log/app.log.1", b"of a\n")
    machine.write("b/log/sub/app.log.1", b"of b\n")
    for name in ("app.log.1", "a/app.log.1", "c/other/app.log.1", "d/x/log/app.log.1"):
        machine.write(name, b"below no directory that matches\n")
    text = machine.config.read_text()
    key = 'key = "{directory}/{stem}.{digest}{extension}"'
    machine.config.write_text(text.replace("[destination]", f"[destination]\n{key}"))
    rows = here.json(machine, "plan")["candidates"]
    assert isinstance(rows, list)
    assert {row["key"].rpartition("/")[0] for row in rows} == {"a/log", "b/log/sub"}
    machine.start()
    machine.wait_until_shipped(2)
    assert sorted(machine.contents()) == [b"of a\n", b"of b\n"]
    machine.write("e/log/app.log.1", b"of a tenant that came later\n")
    machine.wait_until_shipped(3)
    assert here.json(machine, "status")["matching"] == {
        "app": {"directory": f"{machine.logs}/*/log", "count": 3}
    }
    assert 'shipper_matching_directories{watch="app"} 3.0' in machine.ask("/metrics")
    said = f"matching: app: 3 directories match {machine.logs}/*/log"
    assert said in here.run(machine, "status")
    assert said in here.run(machine, "plan")
    assert "/*/log (3 directories match)" in here.run(machine, "check", "--offline")
    told = here.json(machine, "explain", str(machine.logs / "b/log/sub/app.log.1"))
    assert told["answer"] == "shipped"
    assert told["watch"]["directory"] == f"{machine.logs}/*/log"  # type: ignore[index]
    outside = here.json(machine, "explain", str(machine.logs / "a/app.log.1"), code=1)
    assert outside["answer"] == "outside of every watch"
    shutil.rmtree(machine.logs / "e")
    scans = (machine.status() or {})["scan"]["scans"]
    machine.wait_for(lambda: (machine.status() or {})["scan"]["scans"] > scans + 1, "scans")
    assert machine.ask("/healthz") == "ok\n"
    assert machine.stop() == 0


def test_a_matched_directory_with_an_odd_name_spoils_neither_metrics_nor_status_nor_log(
    instance: Make, here: Here, tmp_path: Path
) -> None:
    """A FUSE mount gives no events, so what is at its place is named."""
    machine = globbed(instance(), "*")
    machine.write("good/app.log.1", b"good\n")
    source, odd = tmp_path / "source", machine.logs / os.fsdecode(b"\xff\xfe-\ntenant")
    for directory in (source, odd):
        directory.mkdir()
    with served(source, odd):
        (odd / "app.log.1").write_bytes(b"odd\n")
        machine.start()
        machine.wait_for(lambda: machine.events("watch.refused"), "it")
        label = '{reason="NetworkMount",watch="app/%FF%FE-%0Atenant"}'
        assert f"shipper_unwatched_directories{label} 1.0" in machine.ask("/metrics")
        [refused] = machine.events("watch.refused")
        assert refused["watch"] == "app/%FF%FE-%0Atenant"
        assert refused["detail"] == f"fuse at {machine.logs}/%FF%FE-%0Atenant"
        assert refused["detail"] in json.dumps(machine.status(), ensure_ascii=False)
        assert "no events: app/%FF%FE-%0Atenant" in here.run(machine, "status", code=None)
        machine.wait_until_shipped(1)  # nobody can tell of the other one whether it has a writer
        machine.end()


def test_a_watch_that_gets_a_wider_directory_under_its_name_says_what_ends_the_wait(
    instance: Make, here: Here
) -> None:
    machine = instance(watch='after_upload = "delete"\ndelete_after = "1d"')
    text = machine.config.read_text()
    globbed(machine, "a/log")
    log = machine.write("a/log/app.log.1", b"shipped\n")
    machine.start()
    machine.wait_for(lambda: machine.files("VERIFIED") == 1, "the first")
    assert machine.stop() == 0
    machine.config.write_text(text)
    globbed(machine, "*/log")
    machine.start()
    machine.wait_for(lambda: "OtherFileSystem" in machine.ask("/healthz"), "the ailment")
    assert "or the watch got another directory under its name" in machine.ask("/healthz")
    machine.write("b/log/app.log.1", b"of another tenant\n")
    machine.wait_for(lambda: machine.files("VERIFIED") == 2, "the other one")
    here.run(machine, "acknowledge", "--all")
    machine.wait_for(lambda: machine.ask("/healthz") == "ok\n", "health")
    assert machine.stop() == 0
    with closing(sqlite3.connect(machine.directory / "state" / "journal.db")) as journal:
        journal.execute("UPDATE shipments SET due_at = 0")
        journal.commit()
    machine.start()
    machine.wait_for(lambda: not log.exists(), "its removal by its new path")
    assert sorted(machine.contents()) == [b"of another tenant\n", b"shipped\n"]


def test_what_was_matched_is_archived_by_the_same_way_and_not_shipped_again(
    instance: Make, here: Here
) -> None:
    machine = instance(watch='after_upload = "archive"\ndelete_after = "0s"')
    text = machine.config.read_text()
    text = text.replace("settle =", f'archive_directory = "{machine.logs}/old"\nsettle =')
    machine.config.write_text(text)
    globbed(machine, "*/")
    machine.write("a/app.log.1", b"of a\n")
    assert f"archive {machine.logs}/old" in here.run(machine, "check", "--offline")
    machine.start()
    archived = machine.logs / "old" / "a" / "app.log.1"
    machine.wait_for(archived.exists, "the archive")
    scans = (machine.status() or {})["scan"]["scans"]
    machine.wait_for(lambda: (machine.status() or {})["scan"]["scans"] > scans + 1, "scans")
    assert machine.contents() == [b"of a\n"]
    assert machine.ask("/healthz") == "ok\n"


def test_what_is_older_than_ignore_older_stays_and_is_counted_until_it_is_written_to(
    instance: Make, here: Here
) -> None:
    options = 'ignore_older = "30d"\nafter_upload = "delete"\ndelete_after = "0s"'
    machine = instance(watch=options)
    for year in (2019, 2020, 2021):
        aged(machine.write(f"app.log-{year}0101", b"%d\n" % year), 400)
    empty = aged(machine.write("app.log-20180101", b""), 400)
    many = machine.write("app.log-20170101", b"two names\n")
    os.link(many, machine.logs / "names")
    aged(many, 400)
    machine.write("app.log.1", b"of today\n")
    assert "ok    watch app" in here.run(machine, "check", "--offline")
    machine.start()
    machine.wait_for(lambda: not (machine.logs / "app.log.1").exists(), "the removal")
    scans = (machine.status() or {})["scan"]["scans"]
    machine.wait_for(lambda: (machine.status() or {})["scan"]["scans"] > scans + 2, "cached")
    assert machine.contents() == [b"of today\n"]
    assert empty.exists()
    assert machine.ask("/healthz") == "ok\n"
    assert 'shipper_ignored_files{watch="app"} 5.0' in machine.ask("/metrics")
    said = "left alone: app: 5 files are older than ignore_older"
    assert said in here.run(machine, "status")
    plan = here.run(machine, "plan")
    assert said in plan
    assert "app.log-2019" not in plan
    rows = here.json(machine, "plan")["candidates"]
    assert {row["decision"] for row in rows} == {"older than ignore_older"}  # type: ignore[attr-defined]
    told = here.json(machine, "explain", str(machine.logs / "app.log-20190101"))
    assert told["answer"] == "older than ignore_older"
    assert "ignore_older leaves it alone" in str(told["because"])
    assert told["afterwards"] == "kept: it is older than ignore_older"
    os.utime(machine.logs / "app.log-20190101")
    machine.wait_until_shipped(2)
    machine.wait_for(lambda: 'ignored_files{watch="app"} 4.0' in machine.ask("/metrics"), "4")
    assert machine.stop() == 0
    assert "0 shipped" in here.run(machine, "ship", "--live")


def test_what_was_seen_before_it_was_too_old_stays_an_ailment_or_is_shipped(
    instance: Make, here: Here
) -> None:
    machine = instance(watch='ignore_older = "30d"\nmax_size = "20"')
    large, held = machine.write("large.log.1", b"x" * 21), machine.write("held.log.1", b"held\n")
    with held.open("ab"):
        machine.start()
        machine.wait_for(lambda: "AboveMaxSize" in machine.ask("/healthz"), "the refusal")
        for path in (large, held):
            aged(path, 31)
        scans = (machine.status() or {})["scan"]["scans"]
        machine.wait_for(lambda: (machine.status() or {})["scan"]["scans"] > scans + 2, "scans")
        assert "AboveMaxSize" in machine.ask("/healthz")
        metrics = machine.ask("/metrics")
        assert 'shipper_ignored_files{watch="app"} 0.0' in metrics
        assert "shipper_waiting_files 1.0" in metrics
    machine.wait_until_shipped(1)
    assert machine.contents() == [b"held\n"]
    assert machine.stop() == 0
    machine.start()
    one = 'shipper_ignored_files{watch="app"} 1.0'
    machine.wait_for(lambda: one in machine.ask("/metrics"), "what a restart judges anew")
    machine.wait_for(lambda: not (machine.status() or {})["ailments"], "health")
    assert "1 files are older than ignore_older" in here.run(machine, "status")


def test_a_file_waits_for_min_age_by_its_own_clock_and_that_is_no_trouble(
    instance: Make, here: Here
) -> None:
    machine = instance(watch='min_age = "2h"')
    machine.write("young.log.1", b"young\n")
    aged(machine.write("old.log.1", b"old\n"), 1)
    machine.start()
    machine.wait_until_shipped(1)
    assert machine.contents() == [b"old\n"]
    assert machine.ask("/healthz") == "ok\n"
    told = here.json(machine, "explain", str(machine.logs / "young.log.1"))
    sealed = told["sealed"]
    assert isinstance(sealed, dict)
    assert (told["answer"], sealed["sealed"]) == ("not sealed yet", False)
    assert "s until it was last written 7200 s ago" in str(sealed["because"])
    assert 7000 < sealed["wait_seconds"] <= 7200
    assert "min_age: 7" in here.run(machine, "plan")
    aged(machine.logs / "young.log.1", 1)
    machine.wait_until_shipped(2)


def test_a_log_that_does_not_come_is_an_ailment_also_after_a_restart(
    instance: Make, here: Here
) -> None:
    machine = instance(watch='expect_every = "3s"')
    machine.start()
    machine.wait_for(lambda: "watch app: no log for" in machine.ask("/healthz"), "the ailment")
    assert machine.stop() == 0
    machine.start()
    machine.wait_for(lambda: "watch app: no log for" in machine.ask("/healthz"), "it again")
    machine.wait_for(lambda: "no log for" in json.dumps(machine.status()), "it in the status")
    metrics = machine.ask("/metrics")
    assert 'shipper_overdue_seconds{watch="app"} ' in metrics
    assert 'shipper_overdue_seconds{watch="app"} 0.0' not in metrics
    assert "one is expected every" in here.run(machine, "status", code=1)
    machine.write("app.log.1", b"it comes\n")
    machine.wait_for(lambda: machine.ask("/healthz") == "ok\n", "health")
    document = machine.status() or {}
    assert document["expected"]["app"]["due_at"] > document["at"][:10]
    machine.wait_for(lambda: "watch app: no log for" in machine.ask("/healthz"), "the next one")


def test_a_file_above_max_size_is_refused_live_or_rotated_and_never_removed(
    instance: Make, here: Here
) -> None:
    options = 'max_size = "1KiB"\nafter_upload = "delete"\ndelete_after = "0s"'
    machine = instance(watch=options)
    machine.write("small.log.1", b"x" * 1024)
    large = [machine.write("large.log.1", b"x" * 1025), machine.write("large.log", b"x" * 1025)]
    refused = here.run(machine, "check", "--offline", code=1)
    assert "AboveMaxSize: 1025 bytes, and max_size is 1024" in refused
    assert "hint: raise max_size, exclude it, or remove it" in refused
    machine.start()
    machine.wait_until_shipped(1)
    count = 'shipper_refused_files{code="AboveMaxSize",watch="app"} 2.0'
    machine.wait_for(lambda: count in machine.ask("/metrics"), "both")
    assert "AboveMaxSize" in machine.ask("/healthz")
    assert "AboveMaxSize" in here.run(machine, "plan", code=1)
    told = here.json(machine, "explain", str(large[0]), code=1)
    assert (told["code"], told["afterwards"]) == ("AboveMaxSize", "kept until that is mended")
    assert machine.stop() == 0
    here.run(machine, "ship", "--live", code=1)
    assert machine.contents() == [b"x" * 1024]
    assert all(path.exists() for path in large)


@needs_root
def test_check_asks_every_directory_that_matches_whether_logs_can_be_removed_there() -> None:
    with public_directory() as top:
        for name in ("a", "b"):
            (top / name / "logs").mkdir(parents=True)
        os.chown(top / "a" / "logs", NOBODY, NOBODY)
        state = top / "state"
        state.mkdir()
        os.chown(state, NOBODY, NOBODY)
        path = top / "shipper.toml"
        path.write_text(
            f'state_directory = "{state}"\n[destination]\nbucket = "my-logs"\n'
            f'[[watch]]\ndirectory = "{top}/*/logs"\nafter_upload = "delete"\n'
        )
        configuration = load(str(path), {})
        with unprivileged():
            found = dict(probes(configuration, {}, offline=True))
        name = f"watch logs: {top}/*/logs (2 directories match)"
        assert found[name] is None
        problem = found[f"{name}: removal"]
        assert str(problem) == f"RemoveDenied: {top}/b/logs: not writable"


@pytest.fixture
def top() -> Iterator[Path]:
    with public_directory() as directory:
        before = descriptors_open()
        yield directory
        assert descriptors_open() == before


def scanned(top: Path, below: str, **options: object) -> tuple[set[bytes], list[str], ScanCache]:
    """The paths, the errors, and what the scan counted."""
    directory, pattern = split_directory(f"{top}/{below}")
    watch = replace(WATCH, directory=directory, pattern=pattern, **options)  # type: ignore[arg-type]
    cache = ScanCache()
    seen = list(DirectoryFiles().scan(watch, lambda path, _: True, cache))
    errors = [str(one) for one in seen if isinstance(one, PortError)]
    return {one.path for one in seen if isinstance(one, Entry)}, errors, cache


def tenant(top: Path, name: str | bytes, owner: int = 0) -> Path:
    directory = top / os.fsdecode(name) / "logs"
    directory.mkdir(parents=True)
    (directory / "app.log.1").write_bytes(b"a log\n")
    if owner:
        os.chown(directory, owner, owner)
        os.chown(directory.parent, owner, owner)
    return directory


@needs_root
def test_no_link_is_followed_from_the_first_glob_on(top: Path) -> None:
    tenant(top, "a", NOBODY)
    secret = tenant(top.parent / f"{top.name}-secret", "x")
    try:
        (top / "evil").symlink_to(secret.parent)
        os.lchown(top / "evil", NOBODY, NOBODY)
        (top / "roots").symlink_to(secret.parent)
        (top / "b").mkdir()
        (top / "b" / "logs").symlink_to(secret)
        (top / "same").symlink_to("a")
        (top / "loop").symlink_to("loop")
        (top / "file").write_bytes(b"no directory\n")
        found, errors, cache = scanned(top, "*/logs")
        assert (found, errors) == ({b"a/logs/app.log.1"}, [])
        assert cache.directories == [b"a/logs/"]
        assert cache.left_alone.links == 3
        assert set(cache.left_alone.links_named) == {b"evil", b"roots", b"b/logs"}
    finally:
        shutil.rmtree(secret.parents[1])


def test_a_directory_that_cannot_be_read_is_its_own_trouble(top: Path) -> None:
    for name in ("a", "b", "c"):
        tenant(top, name)
    (top / "a" / "logs").chmod(0)
    (top / "b").chmod(0)
    with unprivileged():
        found, errors, _ = scanned(top, "*/logs")
    (top / "b").chmod(0o755)
    assert found == {b"c/logs/app.log.1"}
    assert sorted(errors) == [
        f"DirectoryUnreadable: {top}/{path}: Permission denied" for path in ("a/logs", "b")
    ]


def test_a_root_that_cannot_be_listed_or_is_missing_is_said(top: Path) -> None:
    assert scanned(top, "none/*/logs")[1] == [f"NotFound: {top}/none: No such file or directory"]
    hidden = top / "hidden"
    tenant(hidden, "a")
    hidden.chmod(0o711)
    with unprivileged():
        _, errors, _ = scanned(hidden, "a*/logs")
    assert errors == [f"DirectoryUnreadable: {hidden}: Permission denied"]
    assert scanned(top, "b*/logs")[:2] == (set(), [])


def test_what_cannot_be_listed_for_want_of_descriptors_is_said(top: Path) -> None:
    tenant(top, "a")
    with descriptors_left(1):
        _, errors, _ = scanned(top, "*/logs")
    assert errors == [f"DirectoryUnreadable: {top}: Too many open files"]


def test_neither_the_archive_nor_a_file_is_a_directory_that_matches(top: Path) -> None:
    for name in ("a", "old"):
        tenant(top, name)
    (top / "b").mkdir()
    (top / "b" / "logs").write_bytes(b"a file\n")
    found, errors, cache = scanned(top, "*/logs", archive_directory=str(top / "old"))
    assert (found, errors, cache.left_alone.links) == ({b"a/logs/app.log.1"}, [], 0)


def test_odd_names_match_and_a_bracket_is_written_in_brackets(top: Path) -> None:
    for name in (b"new\nline", b"not\xffutf8", b"a[b"):
        tenant(top, name)
    found, errors, _ = scanned(top, "*/logs")
    assert not errors
    assert found == {name + b"/logs/app.log.1" for name in (b"new\nline", b"not\xffutf8", b"a[b")}
    assert scanned(top, "a[[]b/logs")[0] == {b"a[b/logs/app.log.1"}
    assert scanned(top, "n?w\nl*/logs")[0] == {b"new\nline/logs/app.log.1"}


def test_a_directory_of_another_depth_does_not_match(top: Path) -> None:
    for name in ("a", "a/logs/deep", "x/y"):
        tenant(top, name)
    assert scanned(top, "*/logs", recursive=False)[0] == {b"a/logs/app.log.1"}
    assert scanned(top, "*/logs")[0] == {b"a/logs/app.log.1", b"a/logs/deep/logs/app.log.1"}
    assert scanned(top, "*/*/logs")[0] == {b"x/y/logs/app.log.1"}


def test_a_thousand_directories_are_one_scan(top: Path) -> None:
    for number in range(1000):
        tenant(top, f"t{number}")
    found, errors, cache = scanned(top, "t*/logs")
    assert (len(found), errors, len(cache.directories)) == (1000, [], 1000)

"""Whose links may lead the daemon to a directory."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.core.types import Entry, RelativePath, Watch
from shipper.edges.files.directory_files import DirectoryFiles
from shipper.edges.files.links import MOST_LINKS, archive_of, reached
from shipper.ports import PortError
from tests.machines.machine import NOBODY, descriptors_open, public_directory, unprivileged
from tests.machines.world import WATCH

FILES = DirectoryFiles()
LOG = RelativePath(b"app.log.1")
SOMEBODY = 1234
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def top() -> Iterator[Path]:
    with public_directory() as directory:
        (directory / "logs").mkdir()
        (directory / "logs" / "app.log.1").write_bytes(b"shipped")
        before = descriptors_open()
        yield directory
        assert descriptors_open() == before


def linked(link: Path, target: str, owner: int = 0) -> Watch:
    """A watch that is reached through a link of that user's."""
    link.symlink_to(target)
    if owner:
        os.lchown(link, owner, owner)
    return replace(WATCH, directory=str(link))


def found(watch: Watch) -> list[bytes] | str:
    seen = list(FILES.scan(watch, lambda path, _: True))
    errors = [one for one in seen if isinstance(one, PortError)]
    if errors:
        assert errors[0].hint
        return str(errors[0])
    return [one.path for one in seen if isinstance(one, Entry)]


def leads_to(path: Path) -> str:
    directory = reached(str(path))
    try:
        return os.readlink(f"/proc/self/fd/{directory}")
    finally:
        os.close(directory)


@needs_root
def test_a_link_of_another_users_leads_to_no_directory_of_roots(top: Path) -> None:
    """Whoever owns /home/app may put a link to /root in the place of /home/app/logs."""
    watch = linked(top / "link", "logs", NOBODY)
    refused = f"a link of user {NOBODY} leads to a directory of user 0"
    assert refused in str(found(watch))
    assert str(found(watch)).startswith("DirectoryUnreadable")
    with pytest.raises(PortError, match="NotRegular"):
        FILES.open(watch, LOG)
    with pytest.raises(PortError, match="NotRegular"):
        FILES.remove(watch, LOG, lambda _: True)
    assert (top / "logs" / "app.log.1").exists()


@needs_root
def test_a_link_may_lead_to_a_directory_of_its_own_owner(top: Path) -> None:
    """Who releases by links owns what they lead to."""
    os.chown(top / "logs", NOBODY, NOBODY)
    assert found(linked(top / "link", "logs", NOBODY)) == [LOG]
    assert found(linked(top / "other", "link", SOMEBODY)) != [LOG]


@needs_root
def test_every_link_on_the_way_counts(top: Path) -> None:
    (top / "home").mkdir()
    (top / "home" / "elsewhere").symlink_to(top)
    os.lchown(top / "home" / "elsewhere", NOBODY, NOBODY)
    assert "a link of user" in str(found(linked(top / "link", "home/elsewhere/logs")))
    assert "a link of user" in str(found(replace(WATCH, directory=f"{top}/home/elsewhere/logs")))
    os.chown(top / "logs", NOBODY, NOBODY)
    assert found(replace(WATCH, directory=f"{top}/home/elsewhere/logs")) == [LOG]


def test_links_of_roots_and_of_the_daemons_own_are_followed(top: Path) -> None:
    (top / "sub").mkdir()
    (top / "absolute").symlink_to(top / "logs")
    (top / "sub" / "relative").symlink_to("../absolute/./")
    (top / "chain").symlink_to("sub/relative")
    for way in ("absolute", "sub/relative", "chain", "sub/../chain", "chain/../logs"):
        assert leads_to(top / way) == str(top / "logs")


def test_links_in_a_circle_and_too_many_of_them_are_an_error(top: Path) -> None:
    (top / "circle").symlink_to("circle")
    assert "Too many levels" in str(found(replace(WATCH, directory=str(top / "circle"))))
    (top / "0").symlink_to("logs")
    for number in range(MOST_LINKS):
        (top / f"{number + 1}").symlink_to(f"{number}")
    assert leads_to(top / f"{MOST_LINKS - 1}") == str(top / "logs")
    assert "Too many levels" in str(found(replace(WATCH, directory=str(top / f"{MOST_LINKS}"))))


@needs_root
def test_a_directory_on_the_way_need_not_be_readable(top: Path) -> None:
    (top / "home").mkdir(mode=0o711)
    (top / "home" / "logs").mkdir()
    with unprivileged():
        assert leads_to(top / "home" / "logs") == str(top / "home" / "logs")


def test_what_is_no_directory_is_an_error_as_ever(top: Path) -> None:
    for name in ("nothing", "logs/app.log.1", "nothing/deeper"):
        assert str(found(replace(WATCH, directory=str(top / name)))).startswith("NotFound")


@needs_root
def test_an_archive_is_not_made_where_anothers_link_leads(top: Path) -> None:
    """As root, makedirs would make /etc/cron.d/x and the rename would fill it."""
    (top / "home").mkdir()
    (top / "home" / "archive").symlink_to(top / "outside")
    os.lchown(top / "home" / "archive", NOBODY, NOBODY)
    (top / "outside").mkdir()
    watch = replace(
        WATCH, directory=str(top / "logs"), archive_directory=f"{top}/home/archive/deep/er"
    )
    with pytest.raises(PortError, match="RemoveDenied") as caught:
        FILES.archive(watch, LOG, lambda _: True)
    assert "a link of user" in caught.value.detail
    assert "root own the links" in caught.value.hint
    assert list((top / "outside").iterdir()) == []
    assert (top / "logs" / "app.log.1").exists()
    os.chown(top / "outside", NOBODY, NOBODY)
    with pytest.raises(PortError, match="where a directory is missing"):
        FILES.archive(watch, LOG, lambda _: True)
    watch = replace(watch, archive_directory=f"{top}/home/archive")
    assert FILES.archive(watch, LOG, lambda _: True)
    assert (top / "outside" / "app.log.1").read_bytes() == b"shipped"


def test_an_archive_is_what_is_there_now(top: Path) -> None:
    watch = replace(WATCH, directory=str(top / "logs"))
    assert archive_of(watch) is None
    watch = replace(watch, archive_directory=str(top / "archive"))
    assert archive_of(watch) is None
    (top / "archive").mkdir()
    assert archive_of(watch) == (top / "archive").stat()


def test_a_link_in_an_inner_archives_place_hides_no_other_directory(top: Path) -> None:
    """Who may swap the archive could else keep a neighbour's logs from being found."""
    (top / "logs" / "theirs").mkdir()
    (top / "logs" / "theirs" / "app.log.1").write_bytes(b"theirs")
    (top / "logs" / "old").symlink_to("theirs")
    watch = replace(WATCH, directory=str(top / "logs"), archive_directory=f"{top}/logs/old")
    assert set(found(watch)) == {LOG, b"old", b"theirs/app.log.1"}

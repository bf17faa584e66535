"""Which file systems events are trusted on, and which mount a path leads to."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.mounts import (
    NETWORK,
    Mount,
    is_watchable,
    mount_of,
    mounts_from_text,
    mounts_seen,
)

EC2 = """\
22 1 259:1 / / rw,relatime shared:1 - xfs /dev/root rw,seclabel
23 22 0:5 / /dev rw,nosuid shared:2 - devtmpfs devtmpfs rw
30 22 0:40 / /mnt/efs rw,relatime shared:9 - nfs4 127.0.0.1:/ rw,vers=4.1,addr=127.0.0.1
31 22 259:3 / /var/log rw,noatime - ext4 /dev/nvme1n1 rw
32 31 0:41 / /var/log/a\\040share rw - cifs //server/logs rw,vers=3.1.1
33 31 0:42 / /var/log/audit rw - tmpfs none rw
"""
MOUNTS = mounts_from_text(EC2)


def kinds(directory: str, *, recursive: bool = True) -> list[str]:
    return [mount.kind for mount in mounts_seen(directory, MOUNTS, recursive=recursive)]


def test_the_kernels_table_is_read_with_its_escapes() -> None:
    assert len(MOUNTS) == 6
    assert MOUNTS[0] == Mount(22, 1, "259:1", "/", "xfs")
    assert MOUNTS[4].path == "/var/log/a share"


def test_lines_that_are_no_mounts_are_left_out() -> None:
    assert mounts_from_text("\n22 1 259:1 /\nx y z:0 / / - xfs\n1 1 0:0 / /\n") == (
        Mount(1, 1, "0:0", "/", ""),
    )


@pytest.mark.parametrize("kind", [*sorted(NETWORK), "fuse.sshfs", "fuse.glusterfs"])
def test_what_others_write_to_is_not_heard(kind: str) -> None:
    assert not is_watchable(kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk"])
def test_what_only_this_kernel_writes_to_is_heard(kind: str) -> None:
    assert is_watchable(kind)


@pytest.mark.parametrize(
    ("directory", "expected"),
    [
        ("/var/log/nginx", ["ext4"]),
        ("/var/log", ["ext4", "cifs", "tmpfs"]),
        ("/var/log/", ["ext4", "cifs", "tmpfs"]),
        ("/var/log/a share/logs", ["cifs"]),
        ("/var/logs", ["xfs"]),
        ("/mnt/efs", ["nfs4"]),
        ("/mnt", ["xfs", "nfs4"]),
    ],
)
def test_a_directory_is_on_a_mount_and_may_have_others_below(
    directory: str, expected: list[str]
) -> None:
    assert kinds(directory) == expected
    assert kinds(directory, recursive=False) == expected[:1]


def test_a_mount_upon_another_hides_it_and_what_is_below() -> None:
    under = mounts_from_text(
        "1 0 8:1 / / rw - ext4 a rw\n"
        "2 1 0:2 / /logs rw - nfs a rw\n"
        "3 2 0:3 / /logs/deep rw - nfs a rw\n"
        "4 2 0:4 / /logs rw - tmpfs a rw\n"
        "5 1 0:5 / /var/log/deep rw - nfs a rw\n"
        "6 1 0:6 / /var rw - tmpfs a rw\n"
    )
    for directory in ("/logs", "/var/log/deep"):
        assert [m.kind for m in mounts_seen(directory, under, recursive=True)] == ["tmpfs"]
    assert [m.number for m in mounts_seen("/", under, recursive=True)] == [1, 4, 6]


def test_where_nothing_is_known_there_is_no_mount() -> None:
    assert mount_of("/var/log", ()) is None
    assert mounts_seen("/var/log", (), recursive=True) == ()


@given(st.text())
def test_any_text_is_a_table(text: str) -> None:
    for mount in mounts_from_text(text):
        assert mount.path is not None


@st.composite
def tables(draw: st.DrawFn) -> tuple[Mount, ...]:
    """Tables as mounting makes them: each mount goes upon what its place leads to then."""
    mounts = [Mount(1, 1, "8:1", "/", "ext4")]
    places = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map(
        lambda p: "/" + "/".join(p)
    )
    for number, path in zip(count(2), draw(st.lists(places, max_size=8))):
        upon = mount_of(path, mounts)
        assert upon is not None
        mounts.append(Mount(number, upon.number, f"0:{number}", path, "ext4"))
    return tuple(mounts)


@given(tables())
def test_the_newest_mount_at_or_above_a_path_is_where_it_leads(mounts: tuple[Mount, ...]) -> None:
    for path in ("/", "/a", "/a/b", "/b/b/a/x"):
        newest = max(m.number for m in mounts if f"{path}/".startswith(m.path.rstrip("/") + "/"))
        found = mount_of(path, mounts)
        assert found is not None
        assert found.number == newest

"""What a lease's answer is worth on which file system."""

import pytest

from shipper.core.leases import is_shared, writer_from_lease
from shipper.core.types import WriterTest

EXT4, XFS, TMPFS, OVERLAY = 0xEF53, 0x58465342, 0x01021994, 0x794C7630
NFS, SMB, CIFS, SMB2 = 0x6969, 0x517B, 0xFF534D42, 0xFE534D42
FUSE, NINE_P, CEPH, LUSTRE, OCFS2 = 0x65735546, 0x01021997, 0x00C36400, 0x0BD00BD0, 0x7461636F


@pytest.mark.parametrize("file_system", [EXT4, XFS, TMPFS, OVERLAY, 0])
def test_a_local_kernel_knows_every_writer(file_system: int) -> None:
    assert writer_from_lease(file_system, is_granted=True) is WriterTest.NONE
    assert writer_from_lease(file_system, is_granted=False) is WriterTest.OPEN
    assert not is_shared(file_system)


@pytest.mark.parametrize("file_system", [NFS, SMB, CIFS, SMB2])
def test_a_server_that_lends_nothing_says_nothing_of_writers(file_system: int) -> None:
    """EFS never grants a delegation; its logs waited for ever for a writer that was not there."""
    assert writer_from_lease(file_system, is_granted=False) is WriterTest.UNKNOWN
    assert writer_from_lease(file_system, is_granted=True) is WriterTest.NONE
    assert is_shared(file_system)


@pytest.mark.parametrize("file_system", [FUSE, NINE_P, CEPH, LUSTRE, OCFS2])
def test_a_grant_by_this_kernel_says_nothing_of_other_machines(file_system: int) -> None:
    assert writer_from_lease(file_system, is_granted=True) is WriterTest.UNKNOWN
    assert writer_from_lease(file_system, is_granted=False) is WriterTest.OPEN
    assert is_shared(file_system)

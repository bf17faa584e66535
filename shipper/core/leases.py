"""What a read lease's answer says of writers, by the type of the file system.

A local file system's kernel knows every writer, so both answers are exact. Elsewhere:

- NFS 4 and SMB grant a lease only while the server lends the file (a delegation, an oplock), and
  then nobody writes to it on any machine. A refusal says that the server lent nothing, which EFS
  never does: nothing follows about writers. (nfs4_add_lease, cifs_setlease)
- FUSE and the others leave the answer to this machine's kernel, if they have leases at all. A
  refusal names a writer here. A grant says nothing of the server or of other machines.

The numbers are statfs(2)'s: include/uapi/linux/magic.h, and coreutils' ``stat`` for the rest. One
number stands for every FUSE file system, so one on a local disk (fuseblk) is taken for remote.
"""

from shipper.core.types import WriterTest

_LENDS = frozenset({0x6969, 0x517B, 0xFF534D42, 0xFE534D42})
"""NFS; SMB in its three kinds."""
_KNOWS_ITSELF_ONLY = frozenset(
    {0x65735546, 0x01021997, 0x00C36400, 0x0BD00BD0}  # FUSE and virtiofs, 9P, Ceph, Lustre
    | {0x5346414F, 0x6B414653, 0x73757245, 0x564C}  # AFS (two), Coda, NCP
    | {0x7461636F, 0x01161970, 0x47504653, 0x19830326}  # OCFS2, GFS2, GPFS, BeeGFS
    | {0x20030528, 0x786F4256, 0xBACBACBC, 0x7C7C6673}  # OrangeFS, VirtualBox, VMware, Parallels
    | {0xAAD7AAEA, 0x61636673}  # Panasas, ACFS
)


def is_shared(file_system: int) -> bool:
    """Whether others than this machine's kernel may write to a file system of this type."""
    return file_system in _LENDS or file_system in _KNOWS_ITSELF_ONLY


def writer_from_lease(file_system: int, *, is_granted: bool) -> WriterTest:
    if file_system in _LENDS:
        return WriterTest.NONE if is_granted else WriterTest.UNKNOWN
    if not is_granted:
        return WriterTest.OPEN
    return WriterTest.UNKNOWN if file_system in _KNOWS_ITSELF_ONLY else WriterTest.NONE

"""The process that has credentials leaves no core and shows its memory to nobody but root."""

import subprocess
import sys

_PROGRAM = """
import os, resource, sys
import ctypes, encodings.ascii
from shipper.edges.secrecy import forbid_dumps
from shipper.reports.checks import _mount_of
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
forbid_dumps()
assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0, "dumpable"
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
for path in ("/proc/self/mem", "/proc/self/environ"):
    try:
        open(path, "rb").close()
    except PermissionError:
        continue
    sys.exit(path + " can be read")
open("/proc/self/mountinfo").read(), open("/proc/self/status").read()
descriptor = os.open("/", os.O_PATH | os.O_DIRECTORY)
assert str(descriptor) in os.listdir("/proc/self/fd")
os.stat(f"/proc/self/fd/{descriptor}/tmp")
assert _mount_of("/tmp")
print("hidden")
"""


def test_an_unprivileged_process_hides_its_memory_and_still_reads_what_it_needs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "hidden\n", done.stderr

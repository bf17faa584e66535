"""What a start loads before it is ready, and where its threads' memory comes from."""

import subprocess
import sys

from shipper.edges.memory import give_back

_MODULES = """
import sys
import shipper.cli.main, shipper.cli.run
from shipper.config import load as config
from shipper.daemon import daemon
from shipper.runtime import logs
from shipper.runtime import wiring
print(*({"awscrt", "boto3", "botocore", "rich"} & sys.modules.keys()))
"""
_HEAPS = """
import ctypes, threading
from shipper.edges.memory import share_one_heap
share_one_heap()
malloc = ctypes.CDLL(None).malloc
malloc.restype = ctypes.c_void_p
found = []
threads = [threading.Thread(target=lambda: found.append(malloc(100_000))) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
with open("/proc/self/maps") as maps:
    [heap] = [line.split()[0] for line in maps if line.rstrip().endswith("[heap]")]
low, high = (int(edge, 16) for edge in heap.split("-"))
print(all(low <= place < high for place in found))
"""


def printed(program: str) -> str:
    """What it prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_neither_botocore_nor_rich_is_loaded_before_the_daemon_is_ready() -> None:
    assert printed(_MODULES) == ""


def test_all_threads_share_one_heap() -> None:
    assert printed(_HEAPS) == "True"
    assert printed(_HEAPS.replace("\nshare_one_heap()", "")) == "False"


def test_giving_back_may_be_asked_for_at_any_time() -> None:
    give_back()
    give_back()

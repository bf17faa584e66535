"""The process that has credentials leaves no core and shows its memory to nobody but root."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shipper.demo.children import Child
from tests.fakes.servers import Answer, ScriptedServer
from tests.machines.instance import Instance

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


@pytest.mark.parametrize("command", ["run", "ship"])
def test_a_program_with_credentials_may_leave_no_core_without_a_unit(
    instance: Callable[..., Instance], command: str
) -> None:
    machine = instance()
    with ScriptedServer(*[Answer.NEVER] * 10) as silent:
        machine.more_environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = silent.url
        output = machine.directory / "output.txt"
        arguments = ["shipper", command, "--config", str(machine.config)]
        child = Child(arguments, str(output), environment=machine.environment)
        try:
            machine.wait_for(lambda: silent.requests, "it to ask for credentials")
            limits = Path(f"/proc/{child.process.pid}/limits").read_text()
        finally:
            child.kill()
    [line] = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert line.split()[4:6] == ["0", "0"]

"""The unit file, read; and a process confined as it says, where no systemd runs.

What systemd does for a service and a test can do without it: the user, the capabilities, no new
privileges, the system call filter (by libseccomp, with the list that systemd-analyze expands), no
memory that is writable and executable, a /proc without others and without the machine.
"""

import ctypes
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

SYSTEMD = Path(__file__).parents[2] / "systemd"
USER_ID = 64123
"""Nobody's, anywhere."""
SET_MDWE = 65
REFUSED = 125
"""The kernel does not know PR_SET_MDWE (Linux 6.3)."""
_ALLOW = 0x7FFF0000
_ERROR_EPERM = 0x00050001


class Unit:
    """The settings of the unit with its drop-ins, all values of each, in order."""

    def __init__(self, *drop_ins: str) -> None:
        self.settings: dict[str, list[str]] = defaultdict(list)
        for name in ("shipper.service", *drop_ins):
            for line in (SYSTEMD / name).read_text(encoding="utf-8").splitlines():
                setting, is_setting, value = line.partition("=")
                if is_setting and not line.startswith(("#", ";")):
                    self.settings[setting].append(value)

    def value(self, setting: str) -> str:
        """The one that holds: the last."""
        return self.settings[setting][-1]

    def words(self, setting: str) -> list[str]:
        """Of a setting that adds up."""
        return [word for value in self.settings[setting] for word in value.split()]

    def seconds(self, setting: str) -> float:
        """A time span with one unit."""
        value = self.value(setting)
        unit = value.lstrip("0123456789")
        return int(value.removesuffix(unit)) * {"s": 1.0, "min": 60.0}[unit]

    def mebibytes(self, setting: str) -> int:
        """A size in mebibytes."""
        return int(self.value(setting).removesuffix("M"))

    def system_calls(self, analyze: str) -> set[str]:
        """What the filter lets through."""
        allowed: set[str] = set()
        for value in self.settings["SystemCallFilter"]:
            names = {
                call for group in value.lstrip("~").split() for call in _expanded(analyze, group)
            }
            allowed = allowed - names if value.startswith("~") else allowed | names
        return allowed

    def confining(self, analyze: str, directory: Path) -> list[str]:
        """The command that becomes a confined one; it needs root."""
        calls = directory / "system-calls.txt"
        calls.write_text(" ".join(sorted(self.system_calls(analyze))))
        proc = f"hidepid={self.value('ProtectProc')},subset={self.value('ProcSubset')}"
        assert self.value("MemoryDenyWriteExecute") == self.value("NoNewPrivileges") == "yes"
        bounds = _for_setpriv(self.words("CapabilityBoundingSet"))
        granted = _for_setpriv(self.words("AmbientCapabilities"))
        return [
            *("unshare", "--mount", "--propagation", "private"),
            *(
                "sh",
                "-c",
                f'mount -t proc -o {proc} proc /proc && umask {self.value("UMask")} && exec "$@"',
            ),
            *("sh",),
            *("setpriv", f"--reuid={USER_ID}", f"--regid={USER_ID}", "--clear-groups"),
            *(f"--inh-caps={granted}", f"--ambient-caps={granted}", f"--bounding-set={bounds}"),
            *("--no-new-privs", sys.executable, __file__, str(calls)),
        ]


def _expanded(analyze: str, group: str) -> set[str]:
    if not group.startswith("@"):
        return {group}
    said = subprocess.run(
        [analyze, "syscall-filter", group], capture_output=True, text=True, check=True
    ).stdout
    lines = [line.strip() for line in said.splitlines()[1:]]
    names = [line for line in lines if line and not line.startswith("#")]
    return {call for name in names for call in _expanded(analyze, name)}


def _for_setpriv(capabilities: list[str]) -> str:
    return ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in capabilities)])


def become(calls: list[str], command: list[str]) -> None:
    """Confine this process, and let the command take its place."""
    if ctypes.CDLL(None).prctl(SET_MDWE, 1, 0, 0, 0) != 0:
        os._exit(REFUSED)
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    rules = ctypes.c_void_p(seccomp.seccomp_init(_ERROR_EPERM))
    numbers = [seccomp.seccomp_syscall_resolve_name(name.encode()) for name in calls]
    for number in numbers:
        if number >= 0:  # else this architecture has none of that name
            assert seccomp.seccomp_rule_add(rules, _ALLOW, number, 0) == 0
    assert seccomp.seccomp_load(rules) == 0
    os.execv(command[0], command)


if __name__ == "__main__":
    become(Path(sys.argv[1]).read_text().split(), sys.argv[2:])

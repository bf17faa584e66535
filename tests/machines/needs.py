"""What tests need of the machine, and what becomes of them where that is missing.

Without a program they are skipped, and the last lines of the run count them. Where
``SHIPPER_REQUIRE_REAL`` says that nothing may be missing, they fail.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterable

import pytest

_PATH = ":/usr/sbin:/sbin"
_NEEDS = "needs "


def program_path(name: str) -> str:
    """Where this program of the system is; without it the test ends here."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + _PATH)
    if found is not None:
        return found
    if os.environ.get("SHIPPER_REQUIRE_REAL"):
        pytest.fail(f"needs {name}, and SHIPPER_REQUIRE_REAL says that nothing may be missing")
    pytest.skip(f"{_NEEDS}{name}")


def summary(reasons: Iterable[str]) -> list[str]:
    """What was left out, for people, from the reasons for which tests were skipped."""
    found = Counter(reason.removeprefix("Skipped: ") for reason in reasons)
    missing = {reason: count for reason, count in found.items() if reason.startswith(_NEEDS)}
    lines = [
        f"left out: {count} tests: {reason}"
        for reason, count in sorted(found.items())
        if reason not in missing
    ]
    if missing:
        names = ", ".join(sorted(reason.removeprefix(_NEEDS) for reason in missing))
        lines.append(f"left out: {sum(missing.values())} tests that need {names}")
    return lines

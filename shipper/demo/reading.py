"""The end of the demo: whoever may read the bucket finds a log, writes it out, and has proof."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from shipper.demo.children import clean_environment

LONGEST_SECONDS = 60.0
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "reader",
    "AWS_SECRET_ACCESS_KEY": "demo",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""A person's own: commands that read do not use the instance's."""


def read_back(directory: str, name: str, sha256: str, say: Callable[[str], None]) -> int:
    """Find a log, write it out, and verify the chain; how many of these went wrong.

    ``sha256`` is of all that was written to the log.
    """
    is_found = _shown(directory, say, "find", "--name", f"{name}*")
    content = Path(directory, "cat.txt")
    is_read = _ran(directory, content, say, "cat", "--name", f"{name}*")
    with content.open("rb") as stream:
        is_same = hashlib.file_digest(stream, "sha256").hexdigest() == sha256
    verdict = "as its program wrote them" if is_same else "DIFFERENT from what was written"
    say(f"    {content.stat().st_size:,} bytes, {verdict}")
    is_proved = _shown(directory, say, "audit", "--manifests", "--content", "100%")
    return (is_found, is_read and is_same, is_proved).count(False)


def _shown(directory: str, say: Callable[[str], None], *words: str) -> bool:
    output = Path(directory, f"{words[0]}.txt")
    is_good = _ran(directory, output, say, *words)
    for line in output.read_text(encoding="utf-8").splitlines():
        say(f"    {line}")
    return is_good


def _ran(directory: str, output: Path, say: Callable[[str], None], *words: str) -> bool:
    say(f"$ shipper {' '.join(words)}")
    command = [sys.executable, "-m", "shipper", *words, "--config", f"{directory}/shipper.toml"]
    with output.open("wb") as stdout, Path(directory, "reading.log").open("ab") as stderr:
        code = subprocess.run(
            command,
            stdout=stdout,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
            env=clean_environment() | CREDENTIALS,
            timeout=LONGEST_SECONDS,
            check=False,
        ).returncode
    if code:
        say(f"    it ended with {code}: {directory}/reading.log")
    return code == 0

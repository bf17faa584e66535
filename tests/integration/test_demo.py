"""``shipper demo`` as a newcomer runs it."""

import re
from pathlib import Path

import pytest

from shipper.demo.children import Child
from shipper.demo.reading import read_back

LONGEST_SECONDS = 100.0
IN_FLIGHT = 4
"""Parts of one file at a time, unless configured otherwise."""


@pytest.mark.system
@pytest.mark.lengthy
@pytest.mark.timeout(LONGEST_SECONDS + 20)
def test_the_demo_ships_every_byte_once_over_a_kill_and_a_refresh(tmp_path: Path) -> None:
    output = tmp_path / "demo.txt"
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    demo = Child(["shipper", "demo"], str(output), environment={"TMPDIR": str(temporary)})
    code = demo.process.wait(LONGEST_SECONDS)
    text = output.read_text(encoding="utf-8")
    assert code == 0, text
    found = re.findall(r"^  (\S.*?)  +([\d,]+(?:\.\d+)?)$", text, re.MULTILINE)
    table = {name: float(value.replace(",", "")) for name, value in found}
    assert "every byte, once" in text
    assert table["objects"] == table["files rotated"] > 15
    assert table["raw bytes"] > 100_000_000
    assert table["credentials refreshed"] >= 1
    assert table["parts stored when it was killed"] >= 2
    assert table["parts re-sent after the kill"] <= IN_FLIGHT
    assert table["daemon's exit code"] == 0
    assert "killed the daemon with SIGKILL" in text
    _, _, reading = text.partition("$ shipper find ")
    listing, _, reading = reading.partition("$ shipper cat ")
    content, _, proof = reading.partition("$ shipper audit --manifests ")
    assert re.search(r" app +batch\.log$", listing, re.MULTILINE), "found"
    assert "bytes, as its program wrote them" in content
    assert "nothing is wrong" in proof, "a verified chain"
    assert "it ended with" not in text
    assert "\r" not in text, "plain lines where there is no terminal"
    assert list(temporary.iterdir()) == [], "nothing is left behind"


def test_a_reading_command_that_ends_badly_counts_and_is_said(tmp_path: Path) -> None:
    (tmp_path / "shipper.toml").write_text("[destination]\n", encoding="utf-8")
    said: list[str] = []
    assert read_back(str(tmp_path), "batch.log", "", said.append) == 3
    assert sum("it ended with 78" in line for line in said) == 3
    assert "    0 bytes, DIFFERENT from what was written" in said

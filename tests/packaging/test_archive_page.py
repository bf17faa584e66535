"""``docs/archive.md`` says what manifests are."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from shipper.core.lifecycle import (
    ObjectChecked,
    ObjectStored,
    Rejected,
    SourceDisposed,
    WriteIntended,
)
from shipper.core.manifests import Header, Line, LossEntry, ObjectEntry, lines_of
from shipper.core.types import ETag
from tests.fakes.examples import promise
from tests.machines.documents import ROOT, quoted
from tests.unit.services.test_manifests import Host

PAGE = (ROOT / "docs" / "archive.md").read_text(encoding="utf-8")
EXAMPLE = PAGE.partition("<!-- example -->\n```\n")[2].partition("```")[0]
PREVIOUS = re.compile('"previous": "([0-9a-f]*)"')
SECTIONS: dict[str, type[Line]] = {
    "The header": Header,
    "An object": ObjectEntry,
    "A loss": LossEntry,
}
TYPES = {int: "integer", str: "text"}


def section(name: str) -> str:
    return PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(("name", "kind"), SECTIONS.items())
def test_every_member_has_a_row_with_its_type(name: str, kind: type[Line]) -> None:
    said: dict[str, str] = {}
    for row in section(name).splitlines():
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        if row.startswith("| `"):
            said |= dict.fromkeys(quoted(cells[0]), cells[1])
    members = {one.name.rstrip("_"): one.type for one in fields(kind)}
    assert {*said} == {*members}
    for member, kind_said in said.items():
        assert kind_said in ("", TYPES[members[member]]), member  # type: ignore[index]  # a type


def test_the_example_is_what_is_written(tmp_path: Path) -> None:
    host = Host(tmp_path)
    now = host.clock.now()
    shipped, parked = host.journal.promise([promise(1), promise(2)], now=now)
    stored = ObjectStored(ETag("0" * 32), 9, "a" * 64, "crc64nvme:NVMvw2ZcnPE=", now + 2.5)
    intended = WriteIntended(ETag("0" * 32), 9, "a" * 64, now + 2)
    host.journal.record(shipped, intended, stored, ObjectChecked(now + 3), SourceDisposed(now + 3))
    host.journal.record(parked, Rejected("SourceUnreadable", "Permission denied"))
    host.run(hours=1)
    host.writer.finish(float("inf"))
    keys = sorted(host.store.objects())
    text = ""
    for key, lines in zip(keys, host.manifests(), strict=True):
        members = [{n.rstrip("_"): getattr(one, n) for n in one.__slots__} for one in lines]
        text += "".join(f"{line}\n" for line in [f"# {key}", *map(json.dumps, members)])
    # The same lines are other bytes in another version of the zstd library.
    previous, said = (PREVIOUS.findall(one)[1] for one in (text, EXAMPLE))
    assert text.replace(previous, said) == EXAMPLE


def test_the_example_can_be_read() -> None:
    manifests = [part.splitlines()[1:] for part in EXAMPLE.split("# ")[1:]]
    kinds = [
        [type(one) for one in lines_of(line.encode() for line in lines)] for lines in manifests
    ]
    assert kinds == [[Header, ObjectEntry, LossEntry], [Header]]

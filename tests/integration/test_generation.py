"""The generation of real files, as their kernel tells it."""

import os
from pathlib import Path

import pytest

from shipper.edges.files.open_file import FileSource


def generation(path: Path) -> str:
    source = FileSource(os.open(path, os.O_RDONLY), str(path))
    try:
        return source.stat().generation
    finally:
        source.close()


@pytest.mark.parametrize("top", ["", "/dev/shm"])
def test_a_name_that_is_made_again_has_another_generation_and_a_change_has_not(
    tmp_path: Path, top: str
) -> None:
    path = (Path(top) if top else tmp_path) / f"shipper-generation-{os.getpid()}"
    found = set()
    try:
        for _ in range(3):
            path.write_bytes(b"x")
            found.add(first := generation(path))
            path.write_bytes(b"")
            os.utime(path, ns=(1, 1))
            assert generation(path) == first
            path.unlink()
    finally:
        path.unlink(missing_ok=True)
    if found == {""}:
        pytest.skip("this file system tells neither generation nor birth time")
    assert len(found) == 3

"""Whether a network of its own may lie between this process and the metadata service."""

from pathlib import Path

import pytest

from shipper.edges.container import is_in_container

ON_DISK = "22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw\n"
OVERLAY = "22 1 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/a\n"
OF_ANOTHER = ON_DISK + "90 22 0:51 / /var/lib/docker/x rw - overlay overlay rw,lowerdir=/a\n"


def machine(root: Path, mounts: str) -> str:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text(mounts)
    return str(root)


@pytest.mark.parametrize("mounts", [ON_DISK, OF_ANOTHER])
def test_a_machine_is_no_container_even_where_it_runs_some(tmp_path: Path, mounts: str) -> None:
    assert not is_in_container({"container": ""}, machine(tmp_path, mounts))


def test_a_root_that_is_an_overlay_is_a_containers(tmp_path: Path) -> None:
    assert is_in_container({}, machine(tmp_path, OVERLAY))


@pytest.mark.parametrize("mark", [".dockerenv", "run/.containerenv", "run/systemd/container"])
def test_the_file_of_a_container_engine_is_known(tmp_path: Path, mark: str) -> None:
    root = machine(tmp_path, ON_DISK)
    (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / mark).touch()
    assert is_in_container({}, root)


def test_the_variable_of_an_orchestrator_is_known(tmp_path: Path) -> None:
    root = machine(tmp_path, ON_DISK)
    assert is_in_container({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, root)


def test_without_proc_it_is_none(tmp_path: Path) -> None:
    assert not is_in_container({}, str(tmp_path))

"""What a daemon may rely on of a descriptor store, systemd's and the fake one."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

from shipper.edges.files.open_file import FileSource
from shipper.edges.systemd import Notifier, SystemdStore
from shipper.ports import DescriptorStore
from tests.fakes.descriptor_store import FakeDescriptorStore
from tests.machines.manager import ServiceManager


class Machine(Protocol):
    """Where daemons come and go."""

    def started(self) -> DescriptorStore:
        """The store as the next daemon sees it."""


@dataclass
class FakeMachine:
    store: FakeDescriptorStore = field(default_factory=FakeDescriptorStore)

    def started(self) -> DescriptorStore:
        return self.store


@dataclass
class SystemdMachine:
    manager: ServiceManager

    def started(self) -> DescriptorStore:
        """systemd gives a start copies of what it has at that moment."""
        self.manager.settle()
        received = {name: os.dup(descriptor) for name, descriptor in self.manager.stored.items()}
        return SystemdStore(Notifier(self.manager.environment), received)


@pytest.fixture(params=["fake", "systemd"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    if request.param == "fake":
        yield FakeMachine()
        return
    with ServiceManager(tmp_path) as manager:
        yield SystemdMachine(manager)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[FileSource]:
    """A file that has no name any more."""
    path = tmp_path / "app.log.1"
    path.write_bytes(b"nowhere else\n")
    opened = FileSource(os.open(path, os.O_RDONLY), "a log")
    path.unlink()
    yield opened
    opened.close()


def kept(store: DescriptorStore) -> dict[str, bytes]:
    """The bytes of all that the start was given."""
    found = {}
    for name, source in store.kept():
        found[name] = source.read(0, 100)
        source.close()
    return found


def test_the_first_start_is_given_nothing(machine: Machine) -> None:
    assert kept(machine.started()) == {}


def test_what_was_put_is_given_to_every_start_that_follows(
    machine: Machine, source: FileSource
) -> None:
    machine.started().put("shipment-1-a", source)
    source.close()
    for _ in range(3):
        assert kept(machine.started()) == {"shipment-1-a": b"nowhere else\n"}


def test_the_callers_source_stays_open(machine: Machine, source: FileSource) -> None:
    machine.started().put("shipment-1-a", source)
    assert source.read(0, 7) == b"nowhere"


def test_what_was_removed_is_not_given_any_more(machine: Machine, source: FileSource) -> None:
    store = machine.started()
    store.put("shipment-1-a", source)
    store.put("shipment-2-b", source)
    store.remove("shipment-1-a")
    store.remove("shipment-1-a")
    assert list(kept(machine.started())) == ["shipment-2-b"]


def test_a_start_may_remove_what_an_earlier_one_put(machine: Machine, source: FileSource) -> None:
    machine.started().put("shipment-1-a", source)
    store = machine.started()
    assert list(kept(store)) == ["shipment-1-a"]
    store.remove("shipment-1-a")
    store.remove("shipment-7-never-put")
    assert kept(machine.started()) == {}

"""A restart while the metadata service is away: promised and held, and nothing is sent."""

from collections.abc import Callable

from tests.machines.instance import INSTANCE_ID, Instance

Make = Callable[..., Instance]
ANOTHER = "i-0ddddeeeeffff0000"


def restarted_without_metadata(instance: Make) -> Instance:
    """It has shipped one log, and promised and lost the name of another since."""
    machine = instance()
    machine.write("first.log.1", b"first\n")
    machine.start()
    machine.wait_until_shipped(1)
    assert machine.stop() == 0
    machine.imds.fault = lambda method, path: (503, "")
    machine.imds.forget_tokens()
    machine.start()
    second = machine.write("second.log.1", b"second\n")
    machine.wait_for(lambda: machine.files("READY") == 1, "the promise")
    machine.wait_for(lambda: (machine.status() or {})["held"]["descriptors"] == 1, "its hold")
    second.unlink()
    return machine


def test_what_is_rotated_away_meanwhile_is_held_and_sent_once_it_is_confirmed(
    instance: Make,
) -> None:
    machine = restarted_without_metadata(instance)
    assert f"not confirmed that this is {INSTANCE_ID}: Unreachable" in machine.ask("/healthz")
    assert machine.contents() == [b"first\n"]
    assert machine.events("instance.not_identified") == []
    assert machine.events("instance.unconfirmed")[0]["instance_id"] == INSTANCE_ID
    machine.imds.fault = lambda method, path: None
    machine.wait_until_shipped(2)
    assert sorted(machine.contents()) == [b"first\n", b"second\n"]
    assert all(f"/{INSTANCE_ID}/" in key for key in machine.moto.objects(machine.bucket))


def test_on_an_images_clone_nothing_goes_under_the_id_of_the_original(instance: Make) -> None:
    machine = restarted_without_metadata(instance)
    machine.write("third.log.1", b"third\n")
    machine.wait_for(lambda: machine.files("READY") == 2, "both promises")
    machine.imds.facts.instance_id = ANOTHER
    machine.imds.fault = lambda method, path: None
    machine.wait_until_shipped(3)
    keys = [key for key in machine.moto.objects(machine.bucket) if "first" not in key]
    assert len(keys) == 2
    assert all(f"/{ANOTHER}/" in key for key in keys)
    assert sorted(machine.contents()) == [b"first\n", b"second\n", b"third\n"]
    assert len(machine.events("journal.adopted")) == 1

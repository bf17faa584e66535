"""An image was made from a used disk: what its journal says there, sentence by sentence.

"An instance id that differs from the journal's: finished rows stay as knowledge, unfinished ones
start anew." The first instance and the one made of its image share the bucket and nothing else.
"""

import gzip
from dataclasses import replace
from pathlib import Path

from shipper.core.lifecycle import Rejected
from shipper.core.types import AfterUpload, Compression, State
from shipper.ports import PortError
from tests.machines.world import FACTS, MIB, WATCH, World, decoded, random_log

BODY = b"a line\n" * 5000
LARGE = random_log(11, 11 * MIB)
TEMPLATE = "{prefix}{instance_id}/{watch}/{stem}.{digest}{segment}{extension}"


def first_instance(directory: Path, *, template: str = TEMPLATE, **watch: object) -> World:
    world = World(directory, watch=replace(WATCH, compression=Compression.NONE, **watch))  # type: ignore[arg-type]  # fields by name
    world.key_template = template
    world.restart()
    world.journal.origin.adopt("i-1")
    return world


def wake_as_daughter(world: World) -> None:
    """The same disk, on another instance."""
    world.facts = replace(FACTS, instance_id="i-2")
    world.restart()
    world.store.calls.clear()
    assert world.journal.origin.adopt("i-2") is True


def objects(world: World, instance_id: str) -> list[bytes]:
    return [
        decoded(key, body)
        for key, body in sorted(world.store.objects().items())
        if key.startswith(f"logs/{instance_id}/")
    ]


def test_what_the_mother_shipped_is_not_shipped_by_the_daughter(tmp_path: Path) -> None:
    world = first_instance(tmp_path)
    for number in range(3):
        world.files.write(b"app-%d.log.1" % number, BODY + b"%d" % number)
    world.files.write(b"large.log.1", LARGE)
    world.run(rounds=1)
    rows = world.rows()
    wake_as_daughter(world)
    world.files.rename(b"app-0.log.1", b"app-0.log.2")
    world.run(rounds=2)
    assert world.store.operations() == []
    assert {row.key for row in world.rows()} == {row.key for row in rows}
    assert {row.state for row in world.rows()} == {State.DONE}


def test_a_twin_of_what_the_mother_shipped_is_still_known_and_a_new_one_recognised(
    tmp_path: Path,
) -> None:
    world = first_instance(tmp_path)
    for number in range(2):
        world.files.write(b"app-%d.log.1" % number, BODY + b"%d" % number)
    world.run(rounds=1)
    mtimes = [row.mtime_ns for row in world.rows()]
    for number, mtime_ns in enumerate(mtimes):
        if number:
            wake_as_daughter(world)
        packed = gzip.compress(BODY + b"%d" % number, mtime=0)
        world.files.write(b"app-%d.log.2.gz" % number, packed)
        world.files.touch(b"app-%d.log.2.gz" % number, mtime_ns)
        world.files.delete(b"app-%d.log.1" % number)
        world.run(rounds=1)
    assert [row.state for row in world.rows()] == [State.DONE] * 2 + [State.DUPLICATE] * 2
    assert objects(world, "i-2") == []


def test_what_grows_on_is_continued_where_the_mother_ended(tmp_path: Path) -> None:
    world = first_instance(tmp_path)
    world.files.write(b"app.log.1", b"first\n")
    world.run(rounds=1)
    wake_as_daughter(world)
    world.files.append(b"app.log.1", b"second\n")
    world.run(rounds=1)
    assert (objects(world, "i-1"), objects(world, "i-2")) == ([b"first\n"], [b"second\n"])


def test_what_was_only_promised_is_promised_anew_under_the_daughters_key(tmp_path: Path) -> None:
    world = first_instance(tmp_path)
    world.files.write(b"app-0.log.1", BODY)
    world.files.write(b"app-1.log.1", LARGE)
    world.discover()
    wake_as_daughter(world)
    assert world.rows() == []
    world.run(rounds=1)
    assert objects(world, "i-1") == []
    assert sorted(objects(world, "i-2")) == sorted([BODY, LARGE])


def test_a_descriptor_held_for_the_mothers_shipment_is_never_read_for_a_daughters(
    tmp_path: Path,
) -> None:
    """The numbers of shipments that are no more are used again."""
    world = first_instance(tmp_path)
    world.files.write(b"app-0.log.1", BODY)
    world.discover()
    world.restart()
    world.discovery.step()  # before the metadata service has answered
    (number,) = world.held.shipments()
    world.facts = replace(FACTS, instance_id="i-2")
    world.files.delete(b"app-0.log.1")
    world.files.write(b"app-1.log.1", LARGE)
    assert world.journal.origin.adopt("i-2")
    world.discover()
    assert [row.id for row in world.rows()] == [number]
    world.run(rounds=2)
    assert [body for key, body in world.store.objects().items()] == [LARGE]
    assert [row.state for row in world.rows() if row.state is not State.SUPERSEDED] == [State.DONE]


def test_an_upload_of_the_mother_is_left_to_her_and_she_completes_it(tmp_path: Path) -> None:
    world = first_instance(tmp_path)
    world.files.write(b"app.log.1", LARGE)
    world.discover()
    world.store.fail_next("CompleteMultipartUpload", PortError("Timeout"))
    world.carry()
    (uploading,) = world.rows()
    receipts = world.journal.receipts(uploading)
    assert uploading.state is State.UPLOADING
    wake_as_daughter(world)
    world.run(rounds=1)
    assert "AbortMultipartUpload" not in world.store.operations()
    assert world.store.unfinished_uploads() == [uploading.upload_id]
    assert objects(world, "i-2") == [LARGE]
    assert uploading.upload_id is not None
    world.store.complete_upload(uploading.key, uploading.upload_id, receipts, checksum="").result()
    assert objects(world, "i-1") == [LARGE]


def test_what_the_mother_had_not_verified_is_shipped_by_the_daughter_too(tmp_path: Path) -> None:
    world = first_instance(tmp_path)
    world.files.write(b"app.log.1", LARGE)
    world.discover()
    world.store.fail_next("ListObjectsV2", PortError("Timeout"))
    world.store._echoes_checksums = False
    world.carry()
    assert [row.state for row in world.rows()] == [State.UPLOADED]
    wake_as_daughter(world)
    world.run(rounds=1)
    assert (objects(world, "i-1"), objects(world, "i-2")) == ([LARGE], [LARGE])


def test_nothing_is_deleted_on_the_mothers_word_while_that_was_not_kept(tmp_path: Path) -> None:
    world = first_instance(tmp_path, after_upload=AfterUpload.DELETE, delete_after_seconds=3600.0)
    world.files.write(b"app.log.1", BODY)
    world.discover()
    world.carry()
    assert [row.state for row in world.rows()] == [State.VERIFIED]
    wake_as_daughter(world)
    world.discover()
    world.carry()
    assert objects(world, "i-2") == [BODY]
    assert world.files.paths() == [b"app.log.1"]
    world.clock.advance(hours=1)
    world.carry()
    assert world.files.paths() == []


def test_what_waited_for_an_operator_is_tried_anew(tmp_path: Path) -> None:
    world = first_instance(tmp_path)
    world.files.write(b"app.log.1", BODY)
    world.discover()
    (row,) = world.rows()
    world.journal.record(row, Rejected("SourceUnreadable", "EACCES"))
    wake_as_daughter(world)
    world.run(rounds=1)
    assert objects(world, "i-2") == [BODY]


def test_keys_without_an_instance_id_are_the_same_and_nothing_is_overwritten(
    tmp_path: Path,
) -> None:
    world = first_instance(tmp_path, template=TEMPLATE.replace("{instance_id}/", ""))
    world.files.write(b"app.log.1", BODY)
    world.discover()
    (row,) = world.rows()
    world.store.place(row.key, BODY)  # by the first instance, after the image was made
    wake_as_daughter(world)
    world.run(rounds=1)
    assert world.store.objects() == {row.key: BODY}
    assert [row.state for row in world.rows()] == [State.DONE]


def test_the_disk_of_a_daughter_may_have_daughters_and_come_back(tmp_path: Path) -> None:
    world = first_instance(tmp_path)
    world.files.write(b"app-0.log.1", BODY)
    world.run(rounds=1)
    for instance_id in ("i-2", "i-3", "i-1"):
        world.facts = replace(FACTS, instance_id=instance_id)
        world.restart()
        assert world.journal.origin.adopt(instance_id)
        world.files.write(b"%s.log.1" % instance_id.encode(), instance_id.encode())
        world.run(rounds=1)
    assert objects(world, "i-1") == [BODY, b"i-1"]
    assert (objects(world, "i-2"), objects(world, "i-3")) == ([b"i-2"], [b"i-3"])

"""A bucket and a prefix that hold instance tags: the real daemon, and what commands say."""

import json
from collections.abc import Callable

import pytest

from shipper.cli.main import main
from tests.machines.instance import Instance

Make = Callable[..., Instance]


def tagged(machine: Instance) -> None:
    """Its bucket's last character and its prefix are tags."""
    text = machine.config.read_text()
    assert f'bucket = "{machine.bucket}"' in text
    machine.config.write_text(
        text.replace(
            f'bucket = "{machine.bucket}"',
            f'bucket = "{machine.bucket[:-1]}{{tag:Env}}"\nprefix = "{{tag:Team}}/logs/"',
        )
    )


def test_nothing_is_sent_before_every_tag_is_there_and_then_all_of_it_is(instance: Make) -> None:
    machine = instance()
    tagged(machine)
    machine.imds.facts.tags.update(Team="we/b")
    machine.write("app.log.1", b"a line\n")
    machine.start()
    machine.wait_for(lambda: "TagUnusable" in json.dumps(machine.status()), "the missing tag")
    status = machine.status()
    assert status is not None
    [ailment] = [one for one in status["ailments"] if "TagUnusable" in one]
    assert "destination.bucket needs the instance tag 'Env'" in ailment
    assert "modify-instance-metadata-options" in ailment
    assert machine.moto.keys(machine.bucket) == []
    text = machine.run("check", code=1)
    assert "destination.bucket needs the instance tag 'Env'" in text
    assert "the keys are guesses" in machine.run("plan")
    machine.imds.facts.tags.update(Env=machine.bucket[-1])
    machine.wait_until_shipped(1)
    [key] = machine.moto.keys(machine.bucket)
    assert key.startswith("we%2Fb/logs/app/")
    assert f"ok    bucket {machine.bucket} (listing)" in machine.run("check")
    machine.write("app.log.2", b"another line\n")
    assert "    we%2Fb/logs/app/" in machine.run("plan")
    assert machine.run("explain", str(machine.logs / "app.log.1")).count("we%2Fb/logs/app/") == 1
    assert machine.stop() == 0


def test_a_tag_that_changed_while_nobody_could_ask_names_bucket_and_key_alike(
    instance: Make,
) -> None:
    machine = instance()
    tagged(machine)
    machine.imds.facts.tags.update(Team="web", Env=machine.bucket[-1])
    machine.start()
    machine.write("app.log.1", b"a line\n")
    machine.wait_until_shipped(1)
    assert machine.stop() == 0
    [before] = machine.moto.keys(machine.bucket)
    other = f"{machine.bucket[:-1]}x"
    machine.moto.create_bucket(other)
    machine.imds.facts.tags.update(Team="shop", Env="x")
    machine.imds.faults.set("GET /latest 503")
    machine.write("app.log.2", b"another line\n")
    machine.start()
    machine.wait_for(lambda: machine.events("instance.not_identified"), "a question in vain")
    machine.wait_for(lambda: machine.events("daemon.ready"), "the first scan")
    assert machine.files("READY") == 0
    machine.imds.faults.set()
    machine.wait_until_shipped(2)
    assert machine.moto.keys(machine.bucket) == [before]
    [key] = machine.moto.keys(other)
    assert key.startswith("shop/logs/app/")
    assert machine.stop() == 0


def test_policies_have_a_star_where_a_tag_stands_and_say_so(
    instance: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = instance()
    machine.config.write_text(
        '[destination]\nbucket = "logs-{tag:Env}"\nprefix = "a*/{tag:Team}/"\n'
        f'[[watch]]\ndirectory = "{machine.logs}"\n'
    )
    assert main(["iam", "policy", "--config", str(machine.config)]) == 0
    said = capsys.readouterr()
    write, listing = json.loads(said.out)["Statement"]
    assert write["Resource"].startswith("arn:aws:s3:::logs-*/a${*}/*/")
    assert listing["Resource"] == "arn:aws:s3:::logs-*"
    assert listing["Condition"]["StringLike"]["s3:prefix"][0].startswith("a${*}/*/")
    assert "whoever may tag the instance chooses among all that match" in said.err
    assert main(["iam", "commands", "--config", str(machine.config)]) == 0
    assert "InstanceMetadataTags=enabled" in capsys.readouterr().out
    for document in ("bucket-policy", "cloudformation"):
        words = ["iam", document, "--account", "123456789012", "--config", str(machine.config)]
        assert main(words) == 1
        assert "holds an instance tag" in capsys.readouterr().err

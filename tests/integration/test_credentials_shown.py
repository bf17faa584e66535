"""What commands and the socket show of credentials, and what they never show."""

from collections.abc import Callable

from tests.machines.here import Here
from tests.machines.instance import Instance

Make = Callable[..., Instance]


def test_credentials_shows_everything_but_secrets(instance: Make, here: Here) -> None:
    machine = instance()
    text = here.run(machine, "credentials")
    keys = machine.imds.issued[-1]
    assert keys.access_key_id in text
    assert keys.secret_access_key not in text
    assert keys.session_token not in text
    assert here.json(machine, "credentials")["state"] == "fresh"
    machine.imds.facts.role_document = {"Code": "AssumeRoleUnauthorizedAccess", "Message": "no"}
    report = here.run(machine, "credentials", code=1)
    assert "misconfigured" in report
    assert "trust policy" in report


def test_credentials_are_the_running_daemons_and_its_socket_tells_no_secret(
    instance: Make, here: Here
) -> None:
    machine = instance(more="[termination]\nspot = false\nautoscaling = false\n")
    machine.start()
    machine.wait_for(lambda: machine.events("credentials.refreshed"), "credentials")
    machine.wait_for(lambda: (machine.status() or {}).get("instance"), "its instance")
    asked = machine.imds.requests.total()
    document = here.json(machine, "credentials")
    assert machine.imds.requests.total() == asked
    assert document["source"] == "the metadata service"
    for name in ("role", "account_id", "access_key_id", "issued_at", "expires_at"):
        assert document[name], name
    assert str(document["next_refresh_at"]) < str(document["expires_at"])
    served = machine.ask("/status") + machine.ask("/metrics") + machine.ask("/healthz")
    for keys in machine.imds.issued:
        assert keys.secret_access_key not in served
        assert keys.session_token not in served


def test_a_profile_that_was_detached_shows_in_status_with_the_command_that_mends_it(
    instance: Make,
) -> None:
    machine = instance(facts={"lifetime_seconds": 8.0})
    machine.start()
    machine.wait_for(lambda: machine.events("credentials.refreshed"), "credentials")
    machine.imds.facts.role = ""
    machine.wait_for(
        lambda: any(one["code"] == "NoProfile" for one in machine.events("credentials.changed")),
        "the change",
    )
    said = machine.run("status", code=None)
    assert "NoProfile" in said
    assert "associate-iam-instance-profile" in said
    assert 'code="NoProfile"' in machine.ask("/metrics")

"""Where each value of another destination comes from."""

import tomllib
from pathlib import Path

from shipper.config.load import load
from shipper.config.origins import DEFAULT, sections

TEXT = """
[destination]
bucket = "logs"
[destinations.audit]
bucket = "audit-logs"
object_lock_mode = "COMPLIANCE"
object_lock_retain = "400d"
[[watch]]
directory = "/var/log/audit"
destination = "audit"
"""


def test_another_destination_is_shown_with_the_origin_of_each_value(tmp_path: Path) -> None:
    path = tmp_path / "shipper.toml"
    path.write_text(TEXT)
    found = sections(load(str(path), {}), {str(path): tomllib.loads(TEXT)}, {})
    (audit,) = [one for one in found if one.head == "[destinations.audit]"]
    settings = {one.key: (one.value, one.origin) for one in audit.settings}
    assert settings["bucket"] == ('"audit-logs"', str(path))
    assert settings["object_lock_retain"] == ('"400d"', str(path))
    assert settings["prefix"] == ('"logs/"', DEFAULT)

"""Whose a key is, as far as it names an instance."""

import pytest

from shipper.core.key_owners import instance_directory


@pytest.mark.parametrize(
    ("key", "directory"),
    [
        ("old/app/i-1/dt=2026/x.zst", "old/app/i-1/"),
        ("old/watch=app/instance=i-1/x", "old/watch=app/instance=i-1/"),
        ("i-1/x", "i-1/"),
        ("old/app/i-12/x", ""),
        ("old/xi-1/x", ""),
        ("old/app/x", ""),
    ],
)
def test_a_key_of_an_earlier_template_may_name_the_instance(key: str, directory: str) -> None:
    assert instance_directory(key, "", "i-1") == directory
    assert instance_directory(key, "", "") == ""

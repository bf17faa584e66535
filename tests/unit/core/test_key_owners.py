"""Whose a key is, as far as it names an instance."""

import pytest

from shipper.core.key_owners import instance_directory, is_anothers


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


@pytest.mark.parametrize(
    ("key", "says", "is_one"),
    [
        ("old/app/x", "", False),  # the template has no instance
        ("old/i-2/x", "i-1", False),
        ("old/app/x", "i-2", True),  # one that is known
        ("old/app/x", "i-0123456789abcdef0", True),
        ("old/i-1/nginx/x", "nginx", False),  # a template that was guessed reads anything
        ("old/app/nginx/x", "nginx", False),
        ("old/app/x", None, False),
        ("old/i-2/x", None, True),
        ("old/i-2/i-1.zst", None, False),
        ("old/i-0123456789abcdef0-x", None, True),
    ],
)
def test_a_key_is_anothers_if_it_names_one_and_not_its_own(
    key: str, says: str | None, *, is_one: bool
) -> None:
    assert is_anothers(key, "old/", "i-1", says, {"i-1", "i-2"}) == is_one

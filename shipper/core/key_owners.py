"""Whose log an object is, as far as its key says. Pure; instance ids are as keys have them."""

import re
from collections.abc import Container

_EC2_ID = re.compile(r"i-[0-9a-f]{8,17}(?![0-9a-z])")


def owner(key: str, prefix: str, known: Container[str]) -> str:
    """The instance of a log below the prefix; empty where the key does not tell.

    A known instance is found in any directory, ``instance=ID`` included; another one by the form
    of EC2's ids.
    """
    for component in key[len(prefix) :].split("/")[:-1]:
        for name in (component, component.partition("=")[2]):
            if name in known:
                return name
    found = _EC2_ID.search(key, len(prefix))
    return found[0] if found else ""


def instance_directory(key: str, prefix: str, instance: str) -> str:
    """The beginning of the key up to the instance's own component; the prefix without one."""
    at = len(prefix)
    for component in key[at:].split("/")[:-1]:
        at += len(component) + 1
        if instance and instance in (component, component.partition("=")[2]):
            return key[:at]
    return prefix


def disjoint(prefixes: set[str]) -> list[str]:
    """Without those that another one covers, in byte order."""
    kept = list[str]()
    for prefix in sorted(prefixes):  # by code points, which is the order of their UTF-8
        if not kept or not prefix.startswith(kept[-1]):
            kept.append(prefix)
    return kept

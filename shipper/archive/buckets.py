"""Where a reader looks: a bucket, and how the keys in it are made."""

from dataclasses import dataclass

from shipper.core.destinations import DEFAULT_KEY
from shipper.ports import Archive


@dataclass(frozen=True, slots=True)
class KeyLayout:
    """How keys are made. ``watch`` is empty where they may be any watch's."""

    prefix: str
    key: str = DEFAULT_KEY
    watch: str = ""


@dataclass(frozen=True, slots=True)
class ReadBucket:
    """A destination, as it is read. Below ``prefix`` are its manifests and heartbeats.

    A prefix may hold ``{tag:NAME}``, where each instance puts its own tag's value.
    """

    archive: Archive
    name: str
    """The bucket's name, an access point's ARN or alias."""
    prefix: str
    layouts: tuple[KeyLayout, ...]
    others: tuple[str, ...] = ()
    """Prefixes of other destinations in the same bucket, but those that this one is below."""

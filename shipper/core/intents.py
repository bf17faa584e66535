"""What a write is about to make true, and whether the object under a key is that.

``Shipment.intents`` has the ETag, as computed here, and the size of every write of the row's bytes
that may have reached S3, the newest first. There may be several: a write whose answer was lost may
still be going on when the next one, which is encoded otherwise, follows it. Whichever comes first
holds the same content, and the condition on the key keeps the other out.
"""

from enum import Enum

from shipper.core.types import ListedObject

MOST_INTENTS = 8


class Likeness(Enum):
    """How an object compares with what was to be written."""

    SAME = "size and ETag are those of the write"
    SAME_SIZE = "the size is that of the write, and ETags tell nothing here"
    UNDECIDED = "the size is that of the write; what ETags mean here is not known yet"
    OTHER = "another object"


def with_intent(intents: str, etag: str, stored_bytes: int) -> str:
    """The intents with a new one. ``etag`` is empty where none can be computed."""
    newest = f"{etag}:{stored_bytes}"
    others = [intent for intent in intents.split() if intent != newest]
    return " ".join([newest, *others][:MOST_INTENTS])


def likeness(intents: str, found: ListedObject, etags_are_md5: bool | None) -> Likeness:
    """Compare an object with the writes that were intended.

    ``etags_are_md5`` is None while no write has told.
    """
    etags = {
        etag
        for etag, _, size in (intent.partition(":") for intent in intents.split())
        if int(size) == found.size_bytes
    }
    if not etags:
        return Likeness.OTHER
    if found.etag and found.etag in etags:
        return Likeness.SAME
    if etags_are_md5 is None:
        return Likeness.UNDECIDED
    return Likeness.OTHER if etags_are_md5 else Likeness.SAME_SIZE

"""What an audit of the archive can find, with what to do. ``docs/archive.md`` tells more."""

from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """What can be found. Stable: scripts are written against it."""

    BROKEN_LINK = "broken-link"
    MISSING_NUMBER = "missing-number"
    UNREADABLE_MANIFEST = "unreadable-manifest"
    MISPLACED_MANIFEST = "misplaced-manifest"
    MISSING_EPOCH = "missing-epoch"
    CUT_TAIL = "cut-tail"
    ENDED = "ended"
    NEVER_WROTE = "never-wrote"
    NO_MANIFESTS = "no-manifests"
    MISSING_OBJECT = "missing-object"
    ALTERED_OBJECT = "altered-object"
    WITHOUT_ENTRY = "object-without-entry"
    DOUBLE_ENTRY = "double-entry"
    IMPOSSIBLE_ENTRY = "impossible-entry"
    ANOTHER_WRITER = "another-writer"
    ALTERED_CONTENT = "altered-content"
    UNREADABLE_CONTENT = "unreadable-content"
    STOPPED = "stopped"
    NEW_EPOCH = "new-epoch"
    STRAY_KEY = "stray-key"
    CLOCK_AHEAD = "clock-ahead"


NOTICES = frozenset({Code.STOPPED, Code.NEW_EPOCH, Code.STRAY_KEY, Code.CLOCK_AHEAD})
"""Said, and no reason to exit with 1: the instance itself accounts for the first two."""

HINTS = {
    Code.BROKEN_LINK: "the manifest was replaced after it was written: look for an earlier "
    "version of the object, and in CloudTrail for who wrote it",
    Code.MISSING_NUMBER: "somebody or a lifecycle rule removed it: with a rule, give --since",
    Code.UNREADABLE_MANIFEST: "look for an earlier version of the object, and for who wrote it",
    Code.MISPLACED_MANIFEST: "it was copied or moved here: look for who wrote it",
    Code.MISSING_EPOCH: "all manifests of an epoch were removed: with a lifecycle rule, "
    "give --since",
    Code.CUT_TAIL: "the newest manifests were removed or replaced: look for earlier versions",
    Code.ENDED: "look whether the instance lives, and at `shipper status` there",
    Code.NEVER_WROTE: "look at `shipper check` there: it may ship elsewhere, or not run at all",
    Code.NO_MANIFESTS: "it runs a shipper without manifests, or all of them were removed",
    Code.MISSING_OBJECT: "look for a delete marker and in CloudTrail; where a lifecycle rule "
    "expires logs, give --since",
    Code.ALTERED_OBJECT: "look for an earlier version; in a copied bucket ETags alone may differ",
    Code.WITHOUT_ENTRY: "another program wrote it, or its manifests were removed",
    Code.DOUBLE_ENTRY: "two manifests say different things of one key: see who wrote both",
    Code.IMPOSSIBLE_ENTRY: "no shipper writes it: look for who wrote the manifest",
    Code.ANOTHER_WRITER: "two wrote as one instance: look for who has its role or a copy of its "
    "disk; or give each destination a prefix of its own",
    Code.ALTERED_CONTENT: "the object is not the log that was read: look for earlier versions",
    Code.UNREADABLE_CONTENT: "fetch it and try `zstd -t` or `gzip -t`",
    Code.STOPPED: "nothing is claimed about the time after; --expect makes it wrong",
    Code.NEW_EPOCH: "what the journal before knew and no manifest had yet is not accounted for",
    Code.STRAY_KEY: "no shipper wrote it; it proves nothing and breaks nothing",
    Code.CLOCK_AHEAD: "set the clock there: times in its manifests are compared with S3's",
}


@dataclass(frozen=True, slots=True)
class Finding:
    code: Code
    instance: str
    """As keys have it; empty where it is not known."""
    key: str
    """Of the object in question; empty where there is none."""
    detail: str

    @property
    def is_wrong(self) -> bool:
        return self.code not in NOTICES

"""The values that cross module boundaries.

Paths below a watch are ``bytes``, as file names are on Linux. Wall-clock instants are seconds
since the epoch (``_at``), or nanoseconds as ``stat`` gives them (``_ns``).
"""

from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from typing import Annotated, Literal, NewType

WatchName = NewType("WatchName", str)
NO_WATCH = WatchName("")
RelativePath = NewType("RelativePath", bytes)
"""Below a watch's directory: no leading slash, no ``..``, any bytes but NUL."""
ObjectKey = NewType("ObjectKey", str)
KeyTemplate = Annotated[str, "with fields in braces; in a file also the name of a layout"]
UploadId = NewType("UploadId", str)
ETag = NewType("ETag", str)
"""Without its quotes; empty where a compatible server left it out."""
ShipmentId = NewType("ShipmentId", int)

HEAD_BYTES = 4096
"""The longest head, and tail."""


class Compression(StrEnum):
    ZSTD = "zstd"
    GZIP = "gzip"
    NONE = "none"


class AfterUpload(StrEnum):
    KEEP = "keep"
    DELETE = "delete"
    ARCHIVE = "archive"


class ChecksumAlgorithm(StrEnum):
    CRC64NVME = "crc64nvme"
    CRC32 = "crc32"
    SHA256 = "sha256"
    MD5 = "md5"
    NONE = "none"


class FileKind(Enum):
    REGULAR = "regular file"
    DIRECTORY = "directory"
    SYMLINK = "symbolic link"
    ALIAS = "symbolic link to a log of the watch, or to no file"
    LINKED_DIRECTORY = "symbolic link to a directory"
    OTHER = "device, socket or FIFO"


class WriterTest(Enum):
    NONE = "no writer (read lease granted)"
    NONE_BY_PROC = "no writer (none in /proc)"
    OPEN = "open for writing"
    UNKNOWN = "a writer cannot be told"


class Role(Enum):
    ROTATED = "rotated"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Watch:
    """``[[watch]]``: a directory with globs, and what happens to the logs in it.

    The fields of this class and of ``core.destinations.Destination`` are keys of the
    configuration, without their units. Their docstrings are the reference (``config.reference``).
    """

    directory: str
    """An absolute path. A link on the way is followed if root or shipper's user owns it; another's
    leads only to a directory of the link's owner. Its names may be globs, as in ``/srv/*/logs``,
    which every scan expands anew: from the first glob on no link is followed, and `{directory}`
    in a key says which directory matched (``a/logs``)."""
    name: WatchName = WatchName("")
    """Part of the key, and unique. When empty, the last name in the directory that is no glob."""
    include: tuple[str, ...] = ()
    """Globs relative to the directory (``*``, ``?``, ``[a-z]``, ``**/``) of the rotated files.
    When empty, the names that rotators give."""
    exclude: tuple[str, ...] = ()
    """Globs of files that are never shipped."""
    live: tuple[str, ...] = ("*.log",)
    """Globs of files that are still written. They are shipped only at termination, unless
    ``include`` names them. All but ``*.log`` beat the names that rotators give."""
    recursive: bool = True
    """Whether subdirectories are watched, too. If not, only `shipper check` looks into them, and
    says what stands there and looks rotated."""
    compression: Compression = Compression.ZSTD
    """What shipper compresses with. A file that is compressed already is sent as it is."""
    compression_level: int = 1
    """1 to 19 for zstd; 1 to 9 for gzip, where 6 is the better bargain."""
    after_upload: AfterUpload = AfterUpload.KEEP
    """What happens to a file once S3 has confirmed its object."""
    delete_after_seconds: float = 600.0
    """How long after the confirmation a file is deleted or archived."""
    after_upload_unproven: bool = False
    """Whether a file is deleted or archived where nobody can tell whether a program still writes
    to it: on a network file system, or without ``CAP_LEASE``. What it writes after that is lost.
    """
    archive_directory: str = ""
    """An absolute path on the same file system, for ``after_upload = "archive"``. It is made where
    it is missing; links on the way are judged as for ``directory``."""
    settle_seconds: float = 5.0
    """A rotated file is shipped once it has not changed for this long."""
    follow_hard_links: bool = False
    """Whether files with more than one name are shipped."""
    live_interval_seconds: float = 0.0
    """How old a byte of a live file may become before it is shipped, at least ``"30s"``: the file
    goes in segments, each up to its last whole line. ``"0s"`` or no text: live files are shipped
    only when the machine ends."""
    live_bytes: int = field(default=0, metadata={"key": "live_bytes"})
    """How many bytes of a live file may wait before they are shipped, at least ``"64KiB"``. Scans
    count them, and no file gets a segment more often than every 30 s. ``"0"`` or no text: any."""
    ignore_older_seconds: float = 0.0
    """A rotated file that was last written longer ago, and of which nothing was shipped yet, is
    left alone: counted, neither shipped nor deleted. Its first look since the start decides.
    ``"0s"`` or no text: none is too old."""
    min_age_seconds: float = 0.0
    """A rotated file is shipped once its own mtime is so long ago, beside ``settle``."""
    expect_every_seconds: float = 0.0
    """How often a log is to come. A watch that ships none for longer is an ailment. ``"0s"`` or no
    text: none is expected."""
    max_size_bytes: int = 0
    """A larger file is refused: it is never shipped or deleted, and is an ailment until it is
    excluded or gone. ``"0"`` or no text: no limit but S3's."""
    destination: str = ""
    """The NAME of ``[destinations.NAME]``, where this watch's logs go. When empty,
    ``[destination]``. Another one later takes what has not been shipped yet with it."""
    prefix: str = ""
    """This and what follows is as in ``[destination]``; when empty, as the destination says."""
    key: KeyTemplate = ""
    """As above."""
    storage_class: str = ""
    """As above."""
    server_side_encryption: Literal["", "AES256", "aws:kms", "aws:kms:dsse"] = ""
    """As above. With ``AES256``, the destination's ``kms_key_id`` is left out."""
    kms_key_id: str = ""
    """As above."""
    acl: str = ""
    """As above."""
    tags: tuple[tuple[str, str], ...] = ()
    """As above; instead of the destination's tags, not beside them."""
    object_lock_mode: Literal["", "GOVERNANCE", "COMPLIANCE"] = ""
    """As above."""
    object_lock_retain_seconds: float = 0.0
    """As above; ``"0s"`` is the destination's."""
    content_type: str = ""
    """As above."""
    content_encoding: str = ""
    """As above; ``auto`` is none, whatever the destination says."""
    pattern: str = field(default="", metadata={"key": ""})
    """No key: the globs of ``directory`` from the first one on, a slash behind each; ``directory``
    is what stands before them. Empty where there is none."""

    @property
    def whole_directory(self) -> str:
        """The directory as it is configured, with its globs."""
        return f"{self.directory.rstrip('/')}/{self.pattern}".rstrip("/") or "/"


@dataclass(frozen=True, slots=True)
class FileStat:
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    link_count: int
    kind: FileKind
    device: int = 0
    """Tells two file systems below one watch apart; changes across reboots."""
    generation: str = ""
    """As in ``FileId``; only an open file's is known, a directory entry's is empty."""
    born_ns: int = 0
    """When an open file was created; 0 where the kernel does not tell."""


@dataclass(frozen=True, slots=True)
class Entry:
    path: RelativePath
    stat: FileStat
    place: str = ""
    """As ``ports.Files.place`` has it."""


@dataclass(frozen=True, slots=True)
class FileId:
    """Which file it is, within one watch, whatever it is called now.

    ``head_digest`` is the SHA-256 (hex) of the first ``head_length`` bytes. ``generation`` changes
    when the inode number is used again; it is empty where the kernel tells none.
    """

    inode: int
    head_length: int
    head_digest: str
    generation: str = ""


@dataclass(frozen=True, slots=True)
class Instance:
    """The instance identity document."""

    instance_id: str
    account_id: str = ""
    region: str = ""
    availability_zone: str = ""


@dataclass(frozen=True, slots=True)
class RoleCredentials:
    """Temporary credentials of the instance's role. The secrets never appear in ``repr``."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires_at: float
    role: str = ""
    account_id: str = ""
    issued_at: float = 0.0
    skew_seconds: float = 0.0
    """How far this machine's clock was behind the service's; 0 where that is unknown."""


class State(StrEnum):
    READY = "READY"
    UPLOADING = "UPLOADING"
    UPLOADED = "UPLOADED"
    VERIFIED = "VERIFIED"
    DONE = "DONE"
    GONE = "GONE"
    SUPERSEDED = "SUPERSEDED"
    PARKED = "PARKED"
    DUPLICATE = "DUPLICATE"


@dataclass(frozen=True, slots=True)
class Promise:
    """What discovery decides to ship: the segment ``[raw_start, raw_end)`` of a file.

    ``tail_digest`` is the SHA-256 (hex) of the up to ``HEAD_BYTES`` bytes that end at ``raw_end``.
    An ``is_live`` file had not been rotated, or not been closed: it stays, and may go on.
    No byte of it is older than ``since_at`` (wall time), as far as is known; 0 where it is not.
    While ``ctime_ns`` is the file's, too, its inode number was not used again. ``place`` is the
    file system that it was found on, as ``ports.Files.place`` has it; empty where any will do.
    """

    watch: WatchName
    path: RelativePath
    file_id: FileId
    raw_start: int
    raw_end: int
    mtime_ns: int
    tail_digest: str
    key: ObjectKey
    compression: Compression
    sealed_because: str
    is_live: bool = False
    ctime_ns: int = 0
    place: str = ""
    since_at: float = 0.0
    destination: str = ""
    """Its name, as ``core.destinations`` has it."""


@dataclass(frozen=True, slots=True)
class Shipment:
    """A segment on its way: one journal row.

    ``due_at`` is when a worker may next claim it; None once nothing is left to do. An upload's
    parts have at least ``part_size`` encoded bytes; from ``abort_at`` on a rule of the bucket may
    abort it. ``raw_sha256`` and ``intents`` are known before a write goes out that stores the
    whole segment (``core.intents``); ``etag`` is S3's, once it has answered.

    ``is_open`` is the last segment of a log that was shipped live, until the log is sealed, goes
    on in another segment, or was nowhere for some time. ``copy_of`` is the key of that segment, of
    the copy. A copy that goes on behind it is sent as the log's next segment: of its content,
    decoded where it is compressed, ``[decoded_start, decoded_end)``. ``raw_sha256`` is theirs
    then, and ``file_sha256`` that of the file's ``[raw_start, raw_end)``.
    """

    id: ShipmentId
    watch: WatchName
    path: RelativePath
    file_id: FileId
    raw_start: int
    raw_end: int
    mtime_ns: int
    tail_digest: str
    key: ObjectKey
    compression: Compression
    sealed_because: str
    promised_at: float
    state: State = State.READY
    due_at: float | None = 0.0
    attempts: int = 0
    upload_id: UploadId | None = None
    part_size: int = 0
    abort_at: float | None = None
    etag: ETag | None = None
    stored_bytes: int = 0
    raw_sha256: str = ""
    intents: str = ""
    code: str = ""
    detail: str = ""
    finished_at: float | None = None
    is_live: bool = False
    ctime_ns: int = 0
    place: str = ""
    since_at: float = 0.0
    is_open: bool = False
    copy_of: str = ""
    decoded_start: int = 0
    decoded_end: int = 0
    file_sha256: str = ""
    destination: str = ""
    checksum: str = ""
    """Of the object, as S3 echoed it: ``crc64nvme:BASE64``."""
    first_sent_at: float = 0.0
    last_sent_at: float = 0.0
    """When S3 acknowledged the last write."""
    listed: str = ""
    """What a manifest is to say of it, or said last: ``object``, ``gone`` and so on."""

    @property
    def raw_bytes(self) -> int:
        if self.decoded_end:
            return self.decoded_end - self.decoded_start
        return self.raw_end - self.raw_start

    @property
    def source_sha256(self) -> str:
        """The SHA-256 of ``[raw_start, raw_end)`` of the source; empty before it is known."""
        return self.file_sha256 or self.raw_sha256


def as_sent(shipment: Shipment) -> Shipment:
    """A shipment that goes on behind another, with the range of what is sent of its content."""
    start, end = shipment.decoded_start, shipment.decoded_end
    return replace(shipment, raw_start=start, raw_end=end)


@dataclass(frozen=True, slots=True)
class Receipt:
    """A part S3 accepted: part ``number`` holds the raw bytes ``[raw_start, raw_end)``.

    ``checksum`` is the base64 value S3 echoed, empty with ``ChecksumAlgorithm.NONE``.
    """

    number: int
    raw_start: int
    raw_end: int
    stored_bytes: int
    etag: ETag
    checksum: str


@dataclass(frozen=True, slots=True)
class NewUpload:
    """A multipart upload; from ``abort_at`` on a rule of the bucket may abort it."""

    upload_id: UploadId
    abort_at: float | None = None


@dataclass(frozen=True, slots=True)
class StoredObject:
    """``confirmed``: S3 echoed the checksum it was sent."""

    etag: ETag
    confirmed: bool


@dataclass(frozen=True, slots=True)
class ListedObject:
    key: ObjectKey
    size_bytes: int
    etag: ETag


@dataclass(frozen=True, slots=True)
class Total:
    watch: WatchName
    state: State
    files: int
    raw_bytes: int
    stored_bytes: int

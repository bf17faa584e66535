"""What shipper needs from the world, as Protocols, and the one error the world may answer with.

``edges`` implements these against the real thing and ``tests/fakes`` in memory; one suite in
``tests/contracts`` passes on both. Unless its text says otherwise, a method blocks, may be called
from any thread, and raises ``PortError`` and nothing else.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Protocol

from shipper.core.archived import ArchivedObject
from shipper.core.disk_space import DiskSpace
from shipper.core.escapes import escaped
from shipper.core.replay import Replay
from shipper.core.scan_cache import ScanCache
from shipper.core.siblings import Siblings
from shipper.core.types import (
    NO_WATCH,
    ChecksumAlgorithm,
    Compression,
    Entry,
    FileStat,
    Instance,
    ListedObject,
    NewUpload,
    ObjectKey,
    Receipt,
    RelativePath,
    RoleCredentials,
    StoredObject,
    UploadId,
    Watch,
    WatchName,
    WriterTest,
)

Selects = Callable[[RelativePath, Siblings], bool | None]
"""Whether a scan yields an entry; None where that may change while the name stays."""


class PortError(Exception):
    """The world said no. ``code`` is stable and judged; ``detail`` and ``hint`` are for people.

    ``detail`` may hold what others said, so its control characters are escaped.
    ``status`` is of HTTP; ``retry_after`` is the wait in seconds that the other side asked for.
    """

    def __init__(
        self,
        code: str,
        detail: str = "",
        hint: str = "",
        *,
        status: int = 0,
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(code, escaped(detail), hint)
        self.code = code
        self.detail = escaped(detail)
        self.hint = hint
        self.status = status
        self.retry_after = retry_after

    def __str__(self) -> str:
        return ": ".join(part for part in (self.code, self.detail) if part)

    @property
    def words(self) -> dict[str, str]:
        """As a log line has it."""
        return {"code": self.code, "detail": self.detail, "hint": self.hint}


class Stopping(Exception):
    """The daemon is asked to stop: nothing new is begun, what was sent is journalled."""


class Clock(Protocol):
    """Time. Never blocks."""

    def now(self) -> float:
        """Wall time: seconds since the epoch; may jump both ways."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never jumps, stands still while suspended."""

    def boottime(self) -> float:
        """Like ``monotonic``, but goes on while the machine is suspended."""


class Readable(Protocol):
    """An open file whose content can be read."""

    def stat(self) -> FileStat: ...

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``offset``; shorter only at the end of the file."""


class Source(Readable, Protocol):
    """An open file; everything is read through this one descriptor, never again by a path."""

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill the buffer from ``offset`` on, and return the number of bytes read.

        They are fewer than the buffer's length only at the end of the file.
        """

    def writer(self) -> WriterTest:
        """Whether a process has it open for writing."""

    def unlinked_bytes(self) -> int:
        """The disk space (blocks, not length) of a file without a name; 0 while it has one."""

    def close(self) -> None:
        """Idempotent."""


class Files(Protocol):
    """Log directories. Every open is relative to a directory descriptor and follows no links."""

    def scan(
        self,
        watch: Watch,
        selects: Selects,
        scan_cache: ScanCache | None = None,
    ) -> Iterator[Entry | PortError]:
        """Every selected entry that is not a directory, in no order.

        What could not be read is yielded as a ``PortError``, from which nothing follows about
        paths below it. Entries that are as ``scan_cache`` remembers them are left out; every scan
        with this cache must have the same ``selects``. The cache counts the regular files that the
        watch leaves alone.
        """

    def place(self, watch: Watch, path: bytes = b"", begins: bytes = b"") -> str:
        """Which file system the directory of this path is on, and ``" at "`` where it begins.

        Another text for another one; that of the watch's own directory depends on it alone. What
        is missing of the path is left out. Where it begins is percent-encoded below the watch.
        The directory ``begins`` ("a/b/") counts as the beginning of one in any case, for what is
        mounted there for one process need not be for another.

        Raises:
            PortError: ``NotFound``, ``DirectoryUnreadable``.
        """

    def space(self, watch: Watch, directory: bytes = b"") -> DiskSpace:
        """How full the file system is that ``directory`` ("" or "a/b/") of the watch is on.

        Raises:
            PortError: ``NotFound``, ``DirectoryUnreadable``.
        """

    def open(self, watch: Watch, path: RelativePath) -> Source:
        """Open a regular file for reading.

        Raises:
            PortError: ``NotFound``, ``NotRegular`` (link, directory, device, FIFO),
                ``SourceUnreadable`` (permissions), ``Unreadable`` (EIO, EMFILE and the like).
        """

    def remove(self, watch: Watch, path: RelativePath, is_same: Callable[[Source], bool]) -> bool:
        """Unlink the entry if ``is_same`` holds for the file that it names at that instant.

        False, with nothing removed, when it does not hold.

        Raises:
            PortError: ``NotFound``; ``SourceInUse``, ``WriterUnproven`` (somebody writes to it,
                or may write to it, unless ``watch.after_upload_unproven``).
        """

    def archive(self, watch: Watch, path: RelativePath, is_same: Callable[[Source], bool]) -> bool:
        """Like ``remove``, but the file moves below ``watch.archive_directory``.

        Where its name is taken there, it gets a numbered suffix.
        """


class DescriptorStore(Protocol):
    """Keeps open files for the next start of the daemon, by name. Raises nothing.

    A descriptor that could not be stored is missing at the next start. One that could not be
    removed is handed out again at the next start. A name holds letters, digits and dashes.
    """

    def kept(self) -> Iterator[tuple[str, Source]]:
        """What an earlier start left, for the caller to close; asked once. They stay kept."""

    def put(self, name: str, source: Source) -> None:
        """Keep a descriptor of the open file under an unused name. ``source`` stays open."""

    def remove(self, name: str) -> None: ...


class Checksum(Protocol):
    """A checksum of bytes that come piece by piece. For one thread."""

    def add(self, piece: bytes | memoryview) -> None: ...

    def value(self) -> str:
        """In base64; empty for ``NONE``."""


class Encoder(Protocol):
    """Compression in independent frames, and the checksums S3 understands. Pure; never blocks."""

    def frame(self, raw: bytes | memoryview, compression: Compression, level: int) -> bytes:
        """One frame: concatenated frames are a valid stream for every reader.

        A ``level`` beyond the format's highest, as another format may have it, is the highest.
        """

    def checksum(self, algorithm: ChecksumAlgorithm) -> Checksum: ...

    def crc32(self, body: bytes | bytearray | memoryview) -> int:
        """The CRC-32 of gzip trailers."""

    def decoded(
        self,
        source: Readable,
        extension: str,
        *,
        limit_bytes: int,
        tick: Callable[[], None] = lambda: None,
    ) -> Iterator[bytes]:
        """The decompressed content of a ``.gz``, ``.zst``, ``.xz`` or ``.bz2`` file.

        In bounded pieces and with bounded memory. ``tick`` is called before every read and after
        every piece; it bounds the time, for whatever it raises ends the reading.

        Raises:
            PortError: ``Undecodable`` (damaged, or of another extension), ``ContentTooLong``
                (behind ``limit_bytes``, which were given).
        """


class ObjectStore(Protocol):
    """One bucket, for writing and listing only. Raises ``PortError`` with S3's own code.

    No call is retried here. Those that return a future sign in the caller's thread and do not wait
    for S3; whatever goes wrong fails the future, which cannot be cancelled, and callbacks of which
    must be brief. A write returns only when S3 answered it with an ETag and a request
    id (and the checksum it was sent, where one was); an answer without them is ``NotS3``.
    """

    @property
    def algorithm(self) -> ChecksumAlgorithm: ...

    def encryption(self, watch: WatchName) -> str:
        """The ``server_side_encryption`` of the watch's objects."""

    @property
    def is_conditional(self) -> bool:
        """Whether a write says that it must not replace an object."""

    def put(
        self,
        key: ObjectKey,
        body: bytes | bytearray | memoryview | Replay,
        *,
        checksum: str,
        metadata: dict[str, str],
        watch: WatchName = NO_WATCH,
        overwrites: bool = False,
    ) -> Future[StoredObject]:
        """PutObject, only if the key is free: ``PreconditionFailed`` when it is not.

        With the settings of the watch's objects. ``overwrites`` asks for no free key.
        """

    def create_upload(
        self, key: ObjectKey, *, metadata: dict[str, str], watch: WatchName = NO_WATCH
    ) -> Future[NewUpload]:
        """CreateMultipartUpload, with settings as ``put``; not idempotent."""

    def upload_part(
        self,
        key: ObjectKey,
        upload_id: UploadId,
        number: int,
        body: bytes | bytearray | memoryview | Replay,
        *,
        checksum: str,
    ) -> Future[tuple[str, str]]:
        """UploadPart, idempotent for the same bytes; the ETag and the echoed checksum."""

    def complete_upload(
        self, key: ObjectKey, upload_id: UploadId, receipts: Sequence[Receipt], *, checksum: str
    ) -> Future[StoredObject]:
        """CompleteMultipartUpload, only if the key is free.

        ``checksum`` is that of the full object, empty where the algorithm knows only composites.
        """

    def find(self, key: ObjectKey) -> Future[ListedObject | None]:
        """The object under exactly this key, by ListObjectsV2."""

    def page(self, prefix: str, *, limit: int) -> list[ListedObject]:
        """The first objects whose keys begin with ``prefix``, in byte order: one listing."""

    def abort_upload(self, key: ObjectKey, upload_id: UploadId) -> None:
        """AbortMultipartUpload; ``AccessDenied`` is common and harmless."""

    def probe(self) -> None:
        """One listing of at most one key under the prefix: bucket, region and role all good."""


class Archive(Protocol):
    """One bucket, for reading, with the credentials of whoever reads. Retries by itself.

    Raises:
        PortError: with S3's own code, a detail and a hint; ``NoCredentials``.
    """

    def listed(self, prefix: str, *, after: str = "") -> Iterator[ArchivedObject]:
        """Every object whose key begins with ``prefix`` and is greater than ``after``, in byte
        order. A page (1,000 keys) is asked for when it is needed."""

    def directories(self, prefix: str) -> Iterator[str]:
        """The prefixes one ``/`` below this one, each with its slash, in byte order."""

    def read(self, key: ObjectKey, *, start: int = 0) -> Iterator[bytes]:
        """The object's bytes from ``start`` on, in pieces of at most 1 MiB.

        A connection that breaks is taken up where it ended, if the object is still the same.

        Raises:
            PortError: ``InvalidObjectState`` where it must be restored first; ``Changed``.
        """

    def metadata(self, key: ObjectKey) -> Mapping[str, str]:
        """The user metadata of the object."""


class CredentialSource(Protocol):
    """A source of temporary credentials."""

    def credentials(self) -> RoleCredentials:
        """The credentials as the source has them now, even when they look expired."""


class Metadata(CredentialSource, Protocol):
    """The instance metadata service, by IMDSv2 and nothing else.

    Raises:
        PortError: ``Unreachable`` (no connection, no answer, or the service in trouble),
            ``HopLimit`` (in a container, the token request got no answer),
            ``MetadataDisabled``, ``NotImdsV2``, ``BadAnswer``.
            Of credentials: ``NoProfile`` (none is attached), ``ProfileDeleted``,
            ``NoRole`` (the profile has none), ``RoleUnusable`` (the service's own ``Code`` and
            message: a broken trust policy).
    """

    def instance(self) -> Instance:
        """The instance identity document."""

    def get(self, path: str) -> str | None:
        """The text under ``/latest/`` + ``path``; None when the service says 404."""

    def peek(self, path: str) -> str | None:
        """Like ``get``, but without a retry, for callers that ask again soon."""


class LifecycleHook(Protocol):
    """The lifecycle hook for which the Auto Scaling group waits before it ends the instance."""

    def extend(self) -> None:
        """Have the group wait as long again."""

    def complete(self) -> None:
        """Tell the group to go on."""

"""What a long read or upload asks and tells the daemon while it goes on."""

from collections.abc import Callable
from dataclasses import dataclass

from shipper.ports import Stopping


@dataclass(frozen=True, slots=True)
class Progress:
    """Callbacks; none of them blocks."""

    is_stopping: Callable[[], bool]
    passed: Callable[[str], None]
    """S3 accepted a write of this key."""
    moved: Callable[[], None]
    """A sign of life: bytes were read, or a part has gone out."""

    def tick(self) -> None:
        """Call before every read of a long one.

        Raises:
            Stopping: the daemon is asked to stop.
        """
        self.moved()
        if self.is_stopping():
            raise Stopping

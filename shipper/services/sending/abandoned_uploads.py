"""Aborts uploads that were given up: each once, at once, if the role may.

Least privilege does not include s3:AbortMultipartUpload. The bucket's lifecycle rule removes
whatever is left.
"""

from collections.abc import Callable, Iterable
from typing import Any

from shipper.core.types import ObjectKey, UploadId
from shipper.ports import ObjectStore, PortError


def abort(store: ObjectStore, key: ObjectKey, upload_id: UploadId, *, log: Any) -> None:
    """Abort the upload; a failure is one debug line and forgotten."""
    try:
        store.abort_upload(key, upload_id)
    except PortError as error:
        if error.code != "NoSuchUpload":
            log.debug("upload.orphaned", key=key, code=error.code)


def abort_each(
    store: ObjectStore,
    abandoned: Iterable[tuple[ObjectKey, UploadId]],
    *,
    is_stopping: Callable[[], bool],
    log: Any,
) -> None:
    """Abort one upload after the other, until the daemon stops."""
    for key, upload_id in abandoned:
        if is_stopping():
            return
        abort(store, key, upload_id, log=log)

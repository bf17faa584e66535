"""Aborts an upload that was given up: once, at once, if the role may.

Least privilege does not include s3:AbortMultipartUpload. The bucket's lifecycle rule removes
whatever is left.
"""

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

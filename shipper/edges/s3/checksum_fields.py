"""How a checksum is written into S3's requests, and read from its answers.

S3 keeps CRCs of the whole object; of SHA-256 it knows composites only. An MD5 goes as Content-MD5,
which is older than all of these, and is answered with the ETag, where that is an MD5.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shipper.core.types import ChecksumAlgorithm, Receipt
from shipper.ports import PortError

_FIELDS = {
    ChecksumAlgorithm.CRC64NVME: "ChecksumCRC64NVME",
    ChecksumAlgorithm.CRC32: "ChecksumCRC32",
    ChecksumAlgorithm.SHA256: "ChecksumSHA256",
}


@dataclass(frozen=True, slots=True)
class ChecksumFields:
    """The fields for one algorithm; none where nothing is sent."""

    algorithm: ChecksumAlgorithm

    def of_body(self, checksum: str) -> dict[str, Any]:
        """For a write with a body. Botocore then computes none and adds no trailer."""
        if not checksum:
            return {}
        if self.algorithm is ChecksumAlgorithm.MD5:
            return {"ContentMD5": checksum}
        return {"ChecksumAlgorithm": self.algorithm.name, _FIELDS[self.algorithm]: checksum}

    def of_upload(self) -> dict[str, Any]:
        """For the creation of a multipart upload."""
        if self.algorithm not in _FIELDS:
            return {}
        kind = "COMPOSITE" if self.algorithm is ChecksumAlgorithm.SHA256 else "FULL_OBJECT"
        return {"ChecksumAlgorithm": self.algorithm.name, "ChecksumType": kind}

    def of_whole(self, checksum: str) -> dict[str, Any]:
        """For a completion, of the full object."""
        if not checksum:
            return {}
        return {_FIELDS[self.algorithm]: checksum, "ChecksumType": "FULL_OBJECT"}

    def of_part(self, receipt: Receipt) -> dict[str, Any]:
        """A part as a completion names it."""
        part: dict[str, Any] = {"PartNumber": receipt.number, "ETag": f'"{receipt.etag}"'}
        if receipt.checksum and self.algorithm in _FIELDS:
            part[_FIELDS[self.algorithm]] = receipt.checksum
        return part

    def echoed(self, operation: str, answer: Mapping[str, Any], checksum: str) -> str:
        """The checksum as S3 repeated it; empty when it did not, or none was sent.

        Raises:
            PortError: ``ChecksumMismatch``.
        """
        if not checksum:
            return ""
        if self.algorithm is ChecksumAlgorithm.MD5:
            md5 = base64.b64decode(checksum).hex()
            return checksum if str(answer.get("ETag") or "").strip('"').lower() == md5 else ""
        found = str(answer.get(_FIELDS[self.algorithm]) or "")
        if found and found != checksum:
            detail = f"{operation}: {self.algorithm} {checksum} was sent, {found} came back"
            raise PortError("ChecksumMismatch", detail)
        return found

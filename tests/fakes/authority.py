"""What a scripted server needs to be every host of AWS behind a proxy: certificates, and answers.

So real host names are spoken to over TLS and nothing leaves the machine.
"""

import datetime
import ipaddress
import ssl
import threading
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fakes.servers import Request, http_answer

_PEM = serialization.Encoding.PEM
_XML = '<?xml version="1.0" encoding="UTF-8"?>'
_RESULTS = {
    "uploads": "<InitiateMultipartUploadResult><Bucket>b</Bucket>"
    "<UploadId>upload-1</UploadId></InitiateMultipartUploadResult>",
    "uploadId": "<CompleteMultipartUploadResult><Bucket>b</Bucket>"
    '<ETag>"e-1"</ETag></CompleteMultipartUploadResult>',
    "list-type": "<ListBucketResult><Name>b</Name><KeyCount>0</KeyCount></ListBucketResult>",
}


class Authority:
    """A CA whose certificate is in ``bundle``; it vouches for any host."""

    def __init__(self, directory: Path, name: str = "the tests' CA") -> None:
        self._directory = directory
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.bundle = directory / f"{name.replace(' ', '-')}.pem"
        constraint = x509.BasicConstraints(ca=True, path_length=0)
        certificate = self._signed(self._name, self._key.public_key(), constraint)
        self.bundle.write_bytes(certificate.public_bytes(_PEM))
        self._lock = threading.Lock()
        self._contexts: dict[str, ssl.SSLContext] = {}

    def context(self, host: str) -> ssl.SSLContext:
        """What a server of that name needs; ``_lock`` guards those that are made."""
        with self._lock:
            if host not in self._contexts:
                self._contexts[host] = self._made(host)
            return self._contexts[host]

    def _made(self, host: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a host")])
        try:
            named: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            named = x509.DNSName(host)
        certificate = self._signed(name, key.public_key(), x509.SubjectAlternativeName([named]))
        path = self._directory / f"host-{len(self._contexts)}.pem"
        private = key.private_bytes(
            _PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(private + certificate.public_bytes(_PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _signed(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
            .sign(self._key, hashes.SHA256())
        )


def answer_of_s3(request: Request) -> bytes:
    """What S3 says when all is well."""
    if request.method == "PUT":
        return http_answer(200, ETag='"e"', x_amz_request_id="R")
    if request.method == "DELETE":
        return http_answer(204, x_amz_request_id="R")
    query = request.target.partition("?")[2]
    names = [each.partition("=")[0] for each in query.split("&")]
    found = next(body for name, body in _RESULTS.items() if name in names)
    return http_answer(200, f"{_XML}{found}", x_amz_request_id="R")

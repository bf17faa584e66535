"""What the environment says of proxies and trusted certificates, as botocore understands it."""

import os
from typing import Any
from urllib.parse import urlsplit

import pycurl
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies

from shipper.edges.http_client.transfer import Request, unanswered


def ca_bundle() -> str:
    """As botocore finds it: libcurl's own would look where its wheel was built."""
    named = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
    return named or str(get_cert_path(True))


def ca_options(bundle: str) -> dict[int, Any]:
    """The certificates that are trusted, as options."""
    return {pycurl.CAINFO: bundle, pycurl.PROXY_CAINFO: bundle}


def proxy_for(request: Request) -> str:
    """As botocore understands the environment. One that is no URL is not repeated."""
    scheme = request.url.partition(":")[0]
    found = get_environ_proxies(request.url).get(scheme) or ""
    proxy = found if "://" in found or not found else f"http://{found.lstrip('/')}"
    try:
        urlsplit(proxy).port  # noqa: B018  (what is asked for)
    except ValueError:
        raise unanswered(request.operation, "the proxy's URL is malformed", "") from None
    return proxy

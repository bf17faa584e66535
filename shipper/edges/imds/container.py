"""The container credentials endpoint (ECS task roles, EKS Pod Identity), and what task this is.

https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-response.html

The environment says where it is. Whoever can write there must not be able to have the
authorization token sent elsewhere, so only addresses of this machine are asked, and no name is
resolved for them. On ECS the path is a secret like the token: neither is shown.
"""

import errno
import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address, ip_network
from random import Random
from typing import Any
from urllib.parse import urlsplit

from shipper.core.backoff import skew_from
from shipper.core.escapes import escaped
from shipper.core.types import Instance, RoleCredentials
from shipper.edges.http_client.transfer import Answer, Request, exchange
from shipper.edges.imds.answers import SECRETS, credentials_from, instance_from
from shipper.edges.imds.asking import LIMITS, Questions
from shipper.ports import Clock, PortError

RELATIVE_URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
FULL_URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"  # noqa: S105  (a variable's name)
TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"  # noqa: S105  (a variable's name)
TASK_URI = "ECS_CONTAINER_METADATA_URI_V4"

_ECS = "http://169.254.170.2"
_LOOPBACK = ip_network("127.0.0.0/8")
_ADDRESSES = frozenset(map(ip_address, ("::1", "169.254.170.2", "169.254.170.23", "fd00:ec2::23")))
_MOST_TOKEN_BYTES = 16 * 1024
"""A Kubernetes service account's token has about 1 KiB."""
_UNSAFE = re.compile(r"[^!-~]|[\\@#]")
"""What two readers of a URL may understand in two ways."""
_ROLE_ARN = re.compile(
    r"arn:aws[a-z-]*:(?:iam|sts)::([0-9]{12}):(?:assumed-)?role/(?:[!-~]*/)?([\w+=,.@-]+)",
    re.ASCII,
)
_TASK_ARN = re.compile(r"arn:aws[a-z-]*:ecs:([a-z0-9-]+):([0-9]{12}):task/(?:[\w-]+/)?([\w-]+)")


@dataclass(frozen=True, slots=True)
class Place:
    """Where to ask, as the environment says."""

    credentials_url: str = field(repr=False)
    task_url: str = field(default="", repr=False)
    """Of ECS; empty elsewhere."""
    token_file: str = ""
    token: str = field(default="", repr=False)


def is_container(environment: Mapping[str, str]) -> bool:
    """Whether the environment names a credentials endpoint."""
    return any(map(environment.get, (RELATIVE_URI, FULL_URI)))


def place_from(environment: Mapping[str, str]) -> Place:
    """Where the environment says that credentials are.

    Raises:
        PortError: ``BadEndpoint``; nowhere, or where no token may be sent.
    """
    relative, full = environment.get(RELATIVE_URI, ""), environment.get(FULL_URI, "")
    if not relative and not full:
        raise PortError("BadEndpoint", f"neither {RELATIVE_URI} nor {FULL_URI} is set", _HINT_ROLE)
    if relative and not relative.startswith("/"):
        hint = "ECS sets it itself: leave it as it is"
        raise PortError("BadEndpoint", f"{RELATIVE_URI} does not begin with a slash", hint)
    found = _checked(RELATIVE_URI, _ECS + relative) if relative else _checked(FULL_URI, full)
    task = environment.get(TASK_URI, "")
    token_file, token = environment.get(TOKEN_FILE, ""), environment.get(TOKEN, "")
    if token and not token_file and not _is_header(token):
        raise PortError("BadEndpoint", f"{TOKEN} holds what no header can", "one line, no blanks")
    return Place(found, _checked(TASK_URI, task.rstrip("/")) if task else "", token_file, token)


def _checked(variable: str, url: str) -> str:
    """The URL, if its answers can only come from this machine."""
    try:
        parts = urlsplit(url)
        scheme, host = parts.scheme, (parts.hostname or "") if parts.port != 0 else ""
    except ValueError:
        scheme = host = ""
    if not host or scheme not in ("http", "https") or _UNSAFE.search(url):
        raise PortError("BadEndpoint", f"{variable} is not an http URL", _HINT_URL)
    if not _is_of_this_machine(host):
        detail = f"{variable} names {host}, where no token may be sent"
        raise PortError("BadEndpoint", detail, _HINT_URL)
    return url


def _is_of_this_machine(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    return address in _ADDRESSES or address in _LOOPBACK


def _is_header(text: str) -> bool:
    return text.isascii() and text.isprintable() and text == text.strip()


class ContainerMetadata:
    """``ports.Metadata`` of a container: there is no other metadata than credentials and task.

    ``learn`` and ``redact`` are as in ``ImdsMetadata``.
    """

    def __init__(
        self,
        place: Place,
        clock: Clock,
        *,
        wait: Callable[[float], bool] | None = None,
        send: Callable[[Request], Answer] = partial(exchange, limits=LIMITS),  # noqa: B008
        rng: Random | None = None,
        learn: Callable[[str], None] = lambda secret: None,
        redact: Callable[[str], str] = escaped,
    ) -> None:
        self._place = place
        self._clock = clock
        self._learn = learn
        self._redact = redact
        self._questions = Questions(
            clock, hint_reach=_HINT_REACH, hint_answer=_HINT_ANSWER, wait=wait, send=send, rng=rng
        )

    def instance(self) -> Instance:
        """The ECS task, as an instance.

        Raises:
            PortError: ``BadAnswer``; as the port says.
        """
        document = self._questions.patiently(self._task)
        found = _TASK_ARN.fullmatch(str(document.get("TaskARN") or ""))
        if found is None:
            raise PortError("BadAnswer", "the task's metadata has no TaskARN", _HINT_ANSWER)
        named = {
            "instanceId": found[3],
            "accountId": found[2],
            "region": found[1],
            "availabilityZone": document.get("AvailabilityZone"),
        }
        return instance_from(named)

    def credentials(self) -> RoleCredentials:
        """The role's.

        Raises:
            PortError: ``ContainerRefused`` (with the endpoint's own words), ``BadAuthorization``
                (there is no usable token), ``NotIssued``; as the port says.
        """
        document, skew_seconds = self._questions.patiently(self._document)
        for name in SECRETS:
            self._learn(str(document.get(name)))
        found = _ROLE_ARN.fullmatch(str(document.get("RoleArn") or ""))
        account, role = found.groups() if found else ("", "")
        document["AccountId"] = document.get("AccountId") or account
        try:
            return credentials_from(document, role, skew_seconds=skew_seconds, redact=self._redact)
        except PortError as error:
            hint = _HINT_ANSWER if error.code == "BadAnswer" else error.hint
            raise PortError(error.code, error.detail, hint) from None

    def get(self, path: str) -> str | None:  # noqa: ARG002  (the port's)
        return None

    peek = get

    def _task(self) -> dict[str, Any]:
        url, path = f"{self._place.task_url}/task", "the task's metadata"
        status, text, _ = self._questions.answer("GET", path, url, {}, shown=path)
        if status != 200:
            raise PortError("BadAnswer", f"{path}: HTTP {status}", _HINT_ANSWER, status=status)
        return self._questions.json_object(path, text)

    def _document(self) -> tuple[dict[str, Any], float]:
        # Each time: the redactor forgets what was learned long ago.
        self._learn("/" + self._place.credentials_url.partition("://")[2].partition("/")[2])
        token, path = self._token(), "container credentials"
        headers = {"Accept": "application/json"} | ({"Authorization": token} if token else {})
        url = self._place.credentials_url
        status, text, told = self._questions.answer("GET", path, url, headers, shown=path)
        if status != 200:
            raise PortError(
                "ContainerRefused", self._refusal(status, text), _HINT_REFUSED, status=status
            )
        skew_seconds = skew_from(told.get("date", ""), self._clock.now())
        return self._questions.json_object(path, text), skew_seconds

    def _refusal(self, status: int, text: str) -> str:
        """In the endpoint's own words: JSON with a code and a message, or a line of text."""
        try:
            said = self._questions.json_object("", text)
            words = [str(said[name]) for name in ("code", "message") if said.get(name)]
        except PortError:
            words = [text]
        line = " ".join(self._redact(": ".join(words)).split())
        return f"HTTP {status}: {line[:_LONGEST_MESSAGE]}".rstrip(": ")

    def _token(self) -> str:
        """The authorization token as it is now; a file is replaced while shipper runs."""
        token, file = self._place.token, self._place.token_file
        if file:
            try:
                with open(file, encoding="ascii", opener=_opened) as text:
                    token = text.read(_MOST_TOKEN_BYTES + 1)
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else "no ASCII"
                raise PortError("BadAuthorization", f"{file}: {why}", _HINT_TOKEN) from None
            if not token or len(token) > _MOST_TOKEN_BYTES or not _is_header(token):
                detail = f"{file} holds no token: one line without its end is wanted"
                raise PortError("BadAuthorization", detail, _HINT_TOKEN)
        self._learn(token)
        return token


def _opened(file: str, flags: int) -> int:
    """A descriptor of a regular file: whoever opens a FIFO waits for its other end."""
    descriptor = os.open(file, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file")
    return descriptor


_LONGEST_MESSAGE = 600
_HINT_ROLE = (
    "give the ECS task a role (taskRoleArn), or the pod's service account a Pod Identity "
    'association, and start it anew; on an instance, credentials.source = "imds"'
)
_HINT_URL = (
    "only 127.0.0.1, [::1], localhost, 169.254.170.2, 169.254.170.23 and [fd00:ec2::23] are "
    "asked; AWS sets it itself"
)
_HINT_REACH = (
    "is the ECS agent, or the EKS Pod Identity agent, at work on this host? Elsewhere run "
    "`shipper mock-imds --container`"
)
_HINT_ANSWER = "does the address in the environment belong to a container credentials endpoint?"
_HINT_REFUSED = (
    "the endpoint says why: look at the task's role or the pod's association, and at the "
    f"authorization token that {TOKEN_FILE} or {TOKEN} names; a pod that was there before its "
    "association has to be started anew"
)
_HINT_TOKEN = f"{TOKEN_FILE} names a file that shipper's user can read; it is read each time"

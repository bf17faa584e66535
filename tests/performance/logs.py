"""Logs as machines write them, the same for the same seed: nginx, JSON, an application, syslog.

The four are mixed line by line in runs, as a host's logs are over a day. zstd level 1 makes them
six to nine times smaller. A body longer than the sample repeats it; the sample is far longer than
the window of zstd level 1 (512 KiB) and of gzip (32 KiB), so that repeating helps neither.
"""

import json
import random
from collections.abc import Callable, Iterator

SEED = 5
SAMPLE_BYTES = 16 * 1024 * 1024
RUN_LINES = 2_000

_PATHS = [f"/api/v2/{noun}" for noun in ("orders", "items", "users", "carts", "search", "login")]
_PATHS += [f"/static/{name}" for name in ("app.7f3c.js", "main.91ab.css", "logo.svg")]
_AGENTS = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
    "curl/8.9.1",
    "kube-probe/1.30",
]
_STATUSES = [200] * 90 + [304] * 5 + [404] * 3 + [499, 502]
_MODULES = ["orders.service", "payment.client", "cache.redis", "db.pool", "http.server"]
_MESSAGES = [
    "request finished",
    "cache miss, loading from the database",
    "connection returned to the pool",
    "payment authorised",
    "retrying after a timeout",
]
_TRACE = """Traceback (most recent call last):
  File "/srv/app/orders/service.py", line {line}, in place
    reply = self.client.authorise(order, timeout={timeout})
  File "/srv/app/payment/client.py", line 88, in authorise
    return self.session.post(self.url, json=order.document(), timeout=timeout)
  File "/usr/lib/python3/dist-packages/requests/sessions.py", line 635, in post
    return self.request("POST", url, data=data, json=json, **kwargs)
requests.exceptions.ReadTimeout: HTTPSConnectionPool(host='pay.internal', port=443): {order}
"""
_UNITS = ["systemd[1]", "sshd[{pid}]", "CRON[{pid}]", "kernel", "dhclient[712]", "rsyslogd[655]"]
_EVENTS = [
    "Started Session {n} of user ubuntu.",
    "Accepted publickey for ubuntu from 10.0.{a}.{b} port {port} ssh2",
    "(root) CMD (   cd / && run-parts --report /etc/cron.hourly)",
    "DHCPACK of 10.0.{a}.{b} from 10.0.0.1",
    "pam_unix(cron:session): session closed for user root",
]


def sample(size_bytes: int = SAMPLE_BYTES, seed: int = SEED) -> bytes:
    """Mixed lines, exactly so many bytes of them."""
    rng, body, number = random.Random(seed), bytearray(), 0
    writers: list[Callable[[random.Random, int], str]] = [_nginx, _json, _application, _syslog]
    while len(body) < size_bytes:
        writer = writers[number // RUN_LINES % len(writers)]
        for _ in range(RUN_LINES):
            body += writer(rng, number).encode()
            number += 1
    return bytes(body[:size_bytes])


def body(of: bytes, size_bytes: int, number: int) -> Iterator[bytes]:
    """The ``number``-th log of this size, cut from the sample; no two begin alike."""
    head = f"log {number:06} opened\n".encode()[:size_bytes]
    yield head
    at, left = number * 7_919_993 % len(of), size_bytes - len(head)
    while left > 0:
        piece = of[at : at + min(left, len(of) - at)]
        yield piece
        at, left = 0, left - len(piece)


def _clock(number: int) -> str:
    second = number // 40
    return f"{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}"


def _nginx(rng: random.Random, number: int) -> str:
    return (
        f"10.{rng.randrange(4)}.{rng.randrange(256)}.{rng.randrange(256)} - - "
        f"[25/Nov/2026:{_clock(number)} +0000] "
        f'"GET {rng.choice(_PATHS)}?id={rng.randrange(100_000)} HTTP/1.1" '
        f"{rng.choice(_STATUSES)} {rng.randrange(200, 60_000)} "
        f'"https://shop.example/" "{rng.choice(_AGENTS)}" {rng.random():.3f}\n'
    )


def _json(rng: random.Random, number: int) -> str:
    line = {
        "timestamp": f"2026-11-25T{_clock(number)}.{rng.randrange(1000):03}Z",
        "level": rng.choice(("info", "info", "info", "warning", "debug")),
        "logger": rng.choice(_MODULES),
        "message": rng.choice(_MESSAGES),
        "trace_id": f"{rng.getrandbits(48):012x}",
        "duration_ms": rng.randrange(2_000),
        "kubernetes": {"namespace": "shop", "pod": f"orders-7d9f-{rng.randrange(8)}"},
    }
    return json.dumps(line) + "\n"


def _application(rng: random.Random, number: int) -> str:
    head = f"2026-11-25 {_clock(number)},{rng.randrange(1000):03} "
    if rng.random() < 0.02:
        order = f"order {rng.randrange(10**7)}"
        trace = _TRACE.format(line=rng.choice((112, 118, 131)), timeout=30, order=order)
        return f"{head}ERROR [worker-{rng.randrange(16)}] orders.service: failed\n{trace}"
    return (
        f"{head}INFO  [worker-{rng.randrange(16)}] {rng.choice(_MODULES)}: "
        f"{rng.choice(_MESSAGES)} order={rng.randrange(10**7)} took={rng.randrange(900)}ms\n"
    )


def _syslog(rng: random.Random, number: int) -> str:
    unit = rng.choice(_UNITS).format(pid=rng.randrange(300, 32_000))
    event = rng.choice(_EVENTS).format(
        n=number, a=rng.randrange(4), b=rng.randrange(256), port=rng.randrange(30_000, 60_000)
    )
    return f"Nov 25 {_clock(number)} ip-10-0-1-17 {unit}: {event}\n"

"""A program that owns a log directory and changes it as fast as it can, until SIGTERM.

``attacker.py ATTACK TOP``: the directory is ``TOP/logs``, what it must not get at ``TOP/outside``.
It says ``ready`` when it has made the first change, then dots for every few, and in the end, in
a line of its own, how many it made. A pipe full of dots holds it back: who is attacked has a turn.
It undoes what a removal did to it, so that there is always something to attack.
"""

import contextlib
import ctypes
import fcntl
import itertools
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable

LOG = b"app.log.1"
SHIPPED = b"shipped\n" * 4
NOT_SHIPPED = b"not shipped\n" * 4
NOBODY = 65534
DEV_ZERO = os.makedev(1, 5)
OFTEN = 16
FEW = 2
"""Tries to change something, for each ``SAID``."""
SAID = b"." * 16
"""So long that a pipe is soon full of them."""
SPARSE_BYTES = 4 * 1024 * 1024
NAMES = (
    b"two\nlines.log.1",
    b"\x1b[2Jclear.log.1",
    b"caf\xe9.log.1",
    b"\xff\xfe.log.1",
    b" .log.1",
    b"...1",
    b".shipper-aside...",
    b".shipper-aside.",
    b"%2e%2e%2f.log.1",
    b"a" * 249 + b".log.1",
    b"\xe2\x80\xae.log.1",
)

_LIBC = ctypes.CDLL(None, use_errno=True)
_HERE = -100
_EXCHANGE = 2
_DETACH = 2

Change = Callable[[], bool]


def exchange(one: bytes, other: bytes) -> bool:
    """One system call: each gets the other's name."""
    return int(_LIBC.renameat2(_HERE, one, _HERE, other, _EXCHANGE)) == 0


def written(path: bytes, body: bytes) -> None:
    """The file, whole from the first moment on."""
    with open(path + b"~", "wb") as file:
        file.write(body)
    os.rename(path + b"~", path)


def swaps(make: Callable[[bytes], None], name: bytes = LOG) -> Change:
    """The log and something that is none, in turns."""
    other = b".other"
    make(other)

    def change() -> bool:
        if exchange(name, other):
            return True
        with contextlib.suppress(OSError):  # the daemon may be putting one back just now
            if not os.path.lexists(name):
                written(name, SHIPPED)
            if not os.path.lexists(other):
                make(other)
        return False

    return change


def swaps_directories(make: Callable[[bytes], None], name: bytes = b"sub") -> Change:
    """The same for the directory above the log."""
    os.makedirs(name, exist_ok=True)
    change_directory = swaps(make, name)

    def change() -> bool:
        with contextlib.suppress(OSError):  # it may be the link at this moment
            if not os.path.islink(name) and not os.path.exists(name + b"/" + LOG):
                written(name + b"/" + LOG, SHIPPED)
        return change_directory()

    return change


def a_link(target: bytes) -> Callable[[bytes], None]:
    return lambda name: os.symlink(target, name)


def a_socket(name: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)


def a_device(name: bytes) -> None:
    os.mknod(name, 0o644 | stat.S_IFCHR, DEV_ZERO)


def another_directory(name: bytes) -> None:
    os.makedirs(name, exist_ok=True)
    written(name + b"/" + LOG, NOT_SHIPPED)


def shifts() -> Change:
    """As logrotate does: ``.1`` becomes ``.2``, and the next one ``.1``."""

    def change() -> bool:
        with contextlib.suppress(FileNotFoundError):
            os.rename(LOG, b"app.log.2")
        written(LOG, SHIPPED)
        return True

    return change


def numbers() -> Change:
    """Every name that the next archived log could get is taken."""
    os.makedirs(b"old", exist_ok=True)
    taken = iter(range(1_000_000_000))

    def change() -> bool:
        try:
            facts = os.open(b"old/" + LOG + b".%d" % next(taken), os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return False
        os.close(facts)
        return True

    return change


def strange_names() -> Change:
    turns = iter(range(1_000_000_000))

    def change() -> bool:
        turn = next(turns)
        name = NAMES[turn % len(NAMES)]
        if turn // len(NAMES) % 2:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
        else:
            with open(name, "wb") as file:
                file.write(SHIPPED)
        return True

    return change


def rest_until_removed() -> None:
    """Until the log is taken away, for as long as a busy machine may need to come to it."""
    ends_at = time.monotonic() + 0.1
    while os.path.lexists(LOG) and time.monotonic() < ends_at:
        time.sleep(0.003)


def truncations() -> Change:
    """It rests now and then, with the log whole, until that is gone: else nobody might see it."""
    numbers = itertools.count(1)

    def change() -> bool:
        with contextlib.suppress(FileNotFoundError):
            os.truncate(LOG, 0)
            os.truncate(LOG, SPARSE_BYTES)
            written(LOG, SHIPPED)
            if next(numbers) % 64 == 0:
                rest_until_removed()
            return True
        written(LOG, SHIPPED)
        return False

    return change


def permissions() -> Change:
    def change() -> bool:
        try:
            os.chmod(LOG, 0)
            os.chmod(LOG, 0o666)
        except FileNotFoundError:
            written(LOG, SHIPPED)
        return True

    return change


def leases() -> Change:
    """Whoever opens the file must wait, unless he will not."""
    signal.signal(signal.SIGIO, lambda *_: None)

    def change() -> bool:
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(LOG, os.O_RDWR)
            try:
                fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            except OSError:
                return False
            finally:
                os.close(descriptor)
            return True
        written(LOG, SHIPPED)
        return False

    return change


def a_crowd() -> Change:
    """One more of many entries, and one less."""
    turns = iter(range(1_000_000_000))

    def change() -> bool:
        name = b"crowd/%d" % (next(turns) % 1000)
        try:
            os.unlink(name)
        except FileNotFoundError:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
        return True

    return change


def depths() -> Change:
    """A very deep directory, which moves."""
    os.makedirs(b"/".join([b"deep"] + [b"d"] * 200), exist_ok=True)

    def change() -> bool:
        os.rename(b"deep", b"deep.er")
        os.rename(b"deep.er", b"deep")
        return True

    return change


def mounts() -> Change:
    """Another file system below the watch, now here and now gone."""
    os.makedirs(b"mounted", exist_ok=True)

    def change() -> bool:
        if _LIBC.mount(b"none", b"mounted", b"tmpfs", 0, b"size=1m"):
            return False
        written(b"mounted/" + LOG, SHIPPED)
        return int(_LIBC.umount2(b"mounted", _DETACH)) == 0

    return change


def watches() -> Change:
    """The watch itself becomes a link of its owner's, and back."""
    facts, link = os.path.realpath(b"."), os.path.realpath(b"..") + b"/link"
    os.symlink(os.path.realpath(b"../outside"), link)
    os.lchown(link, NOBODY, NOBODY)

    def change() -> bool:
        return exchange(facts, link) and exchange(facts, link)

    return change


ATTACKS: dict[str, Callable[[], Change]] = {
    "a link in the log's place": lambda: swaps(a_link(b"../outside/" + LOG)),
    "a link in its directory's place": lambda: swaps_directories(a_link(b"../outside")),
    "another directory in its directory's place": lambda: swaps_directories(another_directory),
    "a link in the watch's place": watches,
    "a hard link in the log's place": lambda: swaps(
        lambda name: os.link(b"../outside/" + LOG, name)
    ),
    "a FIFO in the log's place": lambda: swaps(os.mkfifo),
    "a socket in the log's place": lambda: swaps(a_socket),
    "a device in the log's place": lambda: swaps(a_device),
    "a directory in the log's place": lambda: swaps(another_directory),
    "another log in the log's place": lambda: swaps(lambda name: written(name, NOT_SHIPPED)),
    "logs that shift": shifts,
    "a link in the archive's place": lambda: swaps_directories(a_link(b"../outside"), b"old"),
    "names taken in the archive": numbers,
    "names of any bytes": strange_names,
    "truncations and holes": truncations,
    "no permission now and then": permissions,
    "leases on the log": leases,
    "a crowded directory": a_crowd,
    "a very deep directory": depths,
    "a mount below the watch": mounts,
}


def main(attack: str, top: str) -> None:
    """Attack until SIGTERM."""
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    os.chdir(os.path.join(top, "logs"))
    written(LOG, SHIPPED)
    change, changes = ATTACKS[attack](), 0
    while not changes:
        changes += change()
    print("ready", flush=True)
    for turn in itertools.count():
        if asked:
            break
        changes += change()
        if turn % FEW == 0:
            os.write(sys.stdout.fileno(), SAID)
        if turn % OFTEN == 0 and not os.path.lexists(LOG):
            with contextlib.suppress(OSError):
                written(LOG, SHIPPED)
    print(f"\n{changes}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

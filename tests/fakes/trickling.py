"""A server that answers every request with pieces, for as long as the client stays."""

import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Self


class TricklingServer:
    """``pieces`` makes the pieces of an answer, each of which is one packet."""

    def __init__(self, pieces: Callable[[], Iterable[bytes]]) -> None:
        self._pieces = pieces
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._is_stopped = False
        self.connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_stopped = True
        with socket.create_connection(self._listener.getsockname()):
            pass  # wakes accept, which has no other end
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._is_stopped:
                connection.close()
                return
            self.connections += 1
            self._start(self._answer, connection)

    def _answer(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, suppress(OSError):
            connection.recv(65536)
            for piece in self._pieces():
                if self._is_stopped:
                    return
                connection.sendall(piece)

"""A relay before a server, that acts when so many bytes have passed: in the middle of a command."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self


class Relay:
    """Relays one Unix socket to another, and calls ``act`` once ``after`` bytes went to the server.

    ``act`` runs before the rest is sent on.
    """

    def __init__(self, path: Path, target: Path, after: int, act: Callable[[], None]) -> None:
        self._path, self._target = path, target
        self._left, self._act = after, act
        self.acted = threading.Event()
        self._listening = socket.socket(socket.AF_UNIX)
        self._open: list[socket.socket] = [self._listening]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._listening.bind(str(self._path))
        self._listening.listen()
        self._begin(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(5)
        self._path.unlink(missing_ok=True)

    def _begin(self, work: Callable[[], None]) -> None:
        self._threads.append(threading.Thread(target=work, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.socket(socket.AF_UNIX)
                self._open += [client, server]
                try:
                    server.connect(str(self._target))
                except OSError:
                    client.close()
                    continue
                self._begin(lambda pair=(client, server): self._send(*pair))  # type: ignore[misc]
                self._begin(lambda pair=(client, server): self._return(*pair))  # type: ignore[misc]

    def _send(self, client: socket.socket, server: socket.socket) -> None:
        self._pump(client, server, self._count)

    def _return(self, client: socket.socket, server: socket.socket) -> None:
        self._pump(server, client, lambda _: None)

    def _pump(
        self, source: socket.socket, sink: socket.socket, passing: Callable[[int], None]
    ) -> None:
        with suppress(OSError):
            while chunk := source.recv(65536):
                passing(len(chunk))
                sink.sendall(chunk)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _count(self, size: int) -> None:
        self._left -= size
        if self._left < 0 and not self.acted.is_set():
            self.acted.set()
            self._act()

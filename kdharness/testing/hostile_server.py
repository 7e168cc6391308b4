"""Trackers that are not there: a server that hangs, one that answers 500, and one that resets every connection."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KINDS = ("hangs", "answers 500", "resets")


class Refuses(BaseHTTPRequestHandler):
    """Answers 500 to everything."""

    def do_GET(self) -> None:
        self.send_error(500)

    do_POST = do_PUT = do_PATCH = do_GET  # noqa: N815  http.server's names

    def log_message(self, format: str, *arguments: object) -> None: ...


class Resets(BaseHTTPRequestHandler):
    """Reads a little and resets the connection."""

    def handle(self) -> None:
        self.connection.recv(1)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def finish(self) -> None: ...


@contextmanager
def hostile(kind: str) -> Iterator[str]:
    """The address of a server of this kind."""
    if kind == "hangs":
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(64)  # accepts, and never answers
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        return
    server = ThreadingHTTPServer(("127.0.0.1", 0), {"answers 500": Refuses, "resets": Resets}[kind])
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()

"""A small model hub on 127.0.0.1: serves bytes with Range, and misbehaves on request."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Hub:
    """`files` maps URL paths to content. `cut_after` closes each of the first connections after that many body bytes.
    `ignores_range` answers 200 with everything. `asked` collects (path, Range header)."""

    files: Mapping[str, bytes]
    cut_after: list[int] = field(default_factory=list)
    ignores_range: bool = False
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Run the hub for the length of the block; `hub.url` is its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            hub.asked.append((self.path, wanted))
            content = hub.files.get(self.path.split("?")[0])
            if content is None:
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and not hub.ignores_range else 0
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            body = content[start:]
            self.wfile.write(body[: hub.cut_after.pop(0)] if hub.cut_after else body)
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            """Keep the test output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()

"""A service under a path prefix, as callers see it behind either kind of proxy."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from tests.service.serving import Running

PREFIX = "/shop/dimerec"


@contextmanager
def served_under_prefix(server: Running, *, strips: bool) -> Iterator[str]:
    """The address of `server`, whose root path is PREFIX, with the prefix: behind a proxy that takes it off,
    or as one that leaves it on would ask."""
    if not strips:
        yield server.url + PREFIX
        return
    handler = type("Handler", (StrippingProxy,), {"upstream": server.url})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_port}{PREFIX}"
        finally:
            proxy.shutdown()
            thread.join()


class StrippingProxy(BaseHTTPRequestHandler):
    """What nginx does with `location /shop/dimerec/ { proxy_pass http://…/; }`."""

    upstream: str

    def do_GET(self) -> None:
        if not self.path.startswith(f"{PREFIX}/"):
            self.send_error(404)
            return
        length = int(self.headers.get("content-length", 0))
        kept = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        with httpx.Client() as client:
            answer = client.request(
                self.command,
                self.upstream + self.path.removeprefix(PREFIX),
                content=self.rfile.read(length),
                headers=kept,
            )
        self.send_response(answer.status_code)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.content)

    do_POST = do_HEAD = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        pass

"""A loopback server that speaks S3's API (moto's), with a strict bucket policy and a bad day on demand.

    python tests/s3/server.py      # says its port, and serves until its standard input is closed

Every object that is put has to ask for encryption by KMS (in the bucket `aes256` by S3's own keys), else it is refused
with 403, as a bucket's policy would do.
A PUT of JSON to `/-/faults`, `{"share": 0.1, "seed": 1}`, sets the share of requests that fail: half of these are
throttled (503 SlowDown), the others lose their connection before anything is done, after everything is done, or halfway
through the answer. A GET of `/-/seen` counts the requests by what became of them.
"""

from __future__ import annotations

import json
import logging
import random
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

_KINDS = ("slow down", "slow down", "slow down", "dropped before", "dropped after", "dropped halfway")
_ENCRYPTION = "HTTP_X_AMZ_SERVER_SIDE_ENCRYPTION"


class Strict:
    """Moto's application behind a policy and a source of faults."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self._share = 0.0
        self._random = random.Random(0)
        self._counts: Counter[str] = Counter()

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith("/-/"):
            return self._answer_control(path, environ, start)
        encryption = "AES256" if path.startswith("/aes256/") else "aws:kms"
        if _puts_an_object(environ) and environ.get(_ENCRYPTION) != encryption:
            self._counts["unencrypted " + path] += 1
            return _refused(start, HTTPStatus.FORBIDDEN, "AccessDenied")
        if _puts_an_object(environ):
            self._counts["encrypted"] += 1
        fault = self._fault()
        self._counts[fault or "served"] += 1
        if fault == "slow down":
            return _refused(start, HTTPStatus.SERVICE_UNAVAILABLE, "SlowDown")
        if fault == "dropped before":
            raise _hung_up(environ)
        answer = self._moto(environ, start)
        if fault == "dropped after":
            list(answer)
            raise _hung_up(environ)
        return _half(answer, environ) if fault else answer

    def _fault(self) -> str | None:
        with self._lock:
            return self._random.choice(_KINDS) if self._random.random() < self._share else None

    def _answer_control(self, path: str, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if path == "/-/faults":
            faults = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            with self._lock:
                self._share, self._random = faults["share"], random.Random(faults["seed"])
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(self._counts).encode()]


def _puts_an_object(environ: dict[str, Any]) -> bool:
    """A whole object, or the begin of one in parts: its parts inherit what the begin asked for."""
    method, query = environ["REQUEST_METHOD"], environ.get("QUERY_STRING", "")
    below_a_bucket = environ["PATH_INFO"].strip("/").count("/") > 0
    return below_a_bucket and (
        (method == "PUT" and "partNumber" not in query) or (method == "POST" and query == "uploads")
    )


def _refused(start: Any, status: HTTPStatus, code: str) -> list[bytes]:
    start(f"{status.value} {status.phrase}", [("Content-Type", "application/xml")])
    return [f"<Error><Code>{code}</Code><Message>As told.</Message></Error>".encode()]


def _half(answer: Iterable[bytes], environ: dict[str, Any]) -> Iterator[bytes]:
    whole = b"".join(answer)
    yield whole[: len(whole) // 2]
    raise _hung_up(environ)


def _hung_up(environ: dict[str, Any]) -> Exception:
    """The exception by which werkzeug drops the connection."""
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    return ConnectionResetError()


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = make_server("127.0.0.1", 0, Strict(), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()

"""A loopback HTTP server that speaks for a workspace, and fails where a test plants a fault.

Only the real SDK talks to it. What it answers is in `routes`; an endpoint that is not there is a 404 with
ENDPOINT_NOT_FOUND, and is listed in `unknown`.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from workspace.routes import Refusal, Request, Workspace, find_handler


@dataclass
class Fault:
    """What happens to a request in place of its answer.

    Attributes:
        refusal: An error of the platform; its handler does not run.
        text: A body that is no JSON, with status 200.
        is_lost: The handler runs, and the connection ends without an answer.
        seconds: Time until the answer.
        times: How many requests it meets; -1: all.
        skip: How many requests pass before.
    """

    refusal: Refusal | None = None
    text: str | None = None
    is_lost: bool = False
    seconds: float = 0
    times: int = -1
    skip: int = 0


def busy(retry_after: int | None = 1, times: int = -1) -> Fault:
    """Too many requests, as of the platform's rate limits."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Fault(Refusal(429, "REQUEST_LIMIT_EXCEEDED", "Too many requests.", headers), times=times)


def unavailable(times: int = -1) -> Fault:
    """The service does not answer for now."""
    return Fault(Refusal(503, "TEMPORARILY_UNAVAILABLE", "The service is unavailable."), times=times)


def broken(times: int = -1) -> Fault:
    """An error inside of the service."""
    return Fault(Refusal(500, "INTERNAL_ERROR", "Something went wrong."), times=times)


def denied(message: str = "You do not have permission.", times: int = -1) -> Fault:
    """A verb that this identity may not use."""
    return Fault(Refusal(403, "PERMISSION_DENIED", message), times=times)


def lost(times: int = -1) -> Fault:
    """The effect is there, and the answer gets lost on its way."""
    return Fault(is_lost=True, times=times)


def slow(seconds: float, times: int = -1) -> Fault:
    """An answer that takes its time."""
    return Fault(seconds=seconds, times=times)


def page(text: str = "<html><body>Sign in</body></html>") -> Fault:
    """A page for people, as of a proxy or of a host that is no workspace."""
    return Fault(text=text)


@dataclass
class WorkspaceServer:
    """A running workspace.

    Attributes:
        workspace: Its state.
        host: Its address.
        faults: Planted faults by pattern of method and path, such as `POST /api/2.0/policies/*`.
        requests: Every request, in order.
        unknown: Method and path of the requests that no route answers.
        defects: What a route raised that is no refusal.
    """

    workspace: Workspace
    host: str
    faults: dict[str, Fault] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    defects: list[BaseException] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def plant(self, pattern: str, fault: Fault) -> None:
        """Plant a fault at the requests that a pattern matches, in place of an earlier one there."""
        self.faults[pattern] = replace(fault)

    def count(self, pattern: str) -> int:
        """How many requests a pattern matches."""
        return sum(fnmatchcase(f"{one.method} {one.path}", pattern) for one in self.requests)

    def find_fault(self, call: str) -> Fault | None:
        """The fault that meets a request now."""
        for pattern, fault in self.faults.items():
            if not fnmatchcase(call, pattern) or fault.times == 0:
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            fault.times -= 1
            return fault
        return None

    def answer(self, request: Request) -> tuple[Fault | None, int, Mapping[str, str], bytes]:
        """Answer a request: the fault that meets it, status, headers and body."""
        call = f"{request.method} {request.path}"
        with self.lock:
            self.requests.append(request)
            fault = self.find_fault(call)
        if fault and fault.seconds:
            self.stopped.wait(fault.seconds)
        try:
            if fault and fault.refusal:
                raise fault.refusal
            with self.lock:
                body = self._handle(call, request)
        except Refusal as refusal:
            text = json.dumps({"error_code": refusal.code, "message": refusal.message})
            return fault, refusal.status, refusal.headers, text.encode()
        text = fault.text if fault and fault.text is not None else json.dumps(body)
        return fault, 200, {}, text.encode()

    def _handle(self, call: str, request: Request) -> Any:
        handler, parts = find_handler(request.method, request.path)
        if handler is None:
            self.unknown.append(call)
            raise Refusal(404, "ENDPOINT_NOT_FOUND", f"No API found for '{call}'")
        return handler(self.workspace, request, **parts)


def _build_handler(server: WorkspaceServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are two packets: the second would wait 40 ms for the client.
        disable_nagle_algorithm = True

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

        def answer(self) -> None:
            """Answer any method."""
            url = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            text = self.rfile.read(length) if length else b""
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            request = Request(
                self.command, unquote(url.path), dict(parse_qsl(url.query)), json.loads(text or b"{}"), token
            )
            fault, status, headers, body = server.answer(request)
            if fault and fault.is_lost:
                self.close_connection = True
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
                return
            with suppress(OSError):  # a client that did not wait
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = answer  # noqa: N815 - the base class looks for these

    return Handler


class _Listener(ThreadingHTTPServer):
    """Listens for a workspace, and prints nothing."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, server: WorkspaceServer) -> None:
        super().__init__(("127.0.0.1", 0), _build_handler(server))
        self.speaks_for = server

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep what a route raised; a client that went away is none."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            self.speaks_for.defects.append(error)


@contextmanager
def serve(workspace: Workspace) -> Iterator[WorkspaceServer]:
    """Serve a workspace on a free port of this machine."""
    server = WorkspaceServer(workspace, "")
    with _Listener(server) as http:
        server.host = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=lambda: http.serve_forever(poll_interval=0.01), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.stopped.set()
            http.shutdown()
            thread.join()

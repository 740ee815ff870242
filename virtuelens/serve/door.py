"""The door of the server, before any of a request is parsed: host, key, size, time.

A request that ends, however it ends, takes its generation with it.
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from virtuelens.serve.limits import Limits
from virtuelens.serve.problems import (
    NOT_JSON,
    TOO_LARGE,
    TOO_SLOW,
    WRONG_HOST,
    WRONG_KEY,
    Problem,
)

JOBS = "virtuelens.jobs"
"""Where a request's scope keeps the jobs that end with it."""

KEY = "virtuelens.key"
"""Where a request's scope keeps the digest of the key it came with."""

OPEN_PATHS = frozenset({"/health"})


@dataclass(frozen=True)
class Door:
    """An ASGI application around another.

    keys: API keys, one of which every request must carry; none: everybody may.
    hosts: names that a request may call the server by; none: any. Without a key this keeps out
        pages in a browser that had a name of theirs resolve to this machine.
    """

    app: ASGIApp
    limits: Limits
    keys: Sequence[str] = ()
    hosts: frozenset[str] = frozenset()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope[JOBS], scope[KEY] = [], None
        refused = self._refusal(scope)
        body = b""
        if refused is None:
            try:
                async with asyncio.timeout(self.limits.body_timeout):
                    found = await self._body(receive)
            except TimeoutError:
                found = TOO_SLOW
            if found is None:
                return  # gone before it was here
            refused, body = (found, b"") if isinstance(found, Problem) else (None, found)
        if refused is not None:
            await answer(refused, send, close=True)
            return
        try:
            await self.app(scope, _again(body, receive), send)
        finally:
            for job in scope[JOBS]:
                job.cancel()

    def _refusal(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        if self.hosts and _host(headers.get("host", "")) not in self.hosts:
            return WRONG_HOST
        if self.keys and scope["path"] not in OPEN_PATHS:
            given = headers.get("authorization", "")
            scheme, _, key = given.partition(" ")
            if scheme.lower() != "bearer" or not _known(key.strip(), self.keys):
                return WRONG_KEY
            scope[KEY] = hashlib.sha256(key.strip().encode()).hexdigest()[:12]
        if scope["method"] == "POST":
            # a page elsewhere can send other types without asking
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                return NOT_JSON
        length = headers.get("content-length", "")
        if length.isdigit() and int(length[:20]) > self.limits.body_bytes:
            return TOO_LARGE
        return None

    async def _body(self, receive: Receive) -> bytes | Problem | None:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self.limits.body_bytes:
                return TOO_LARGE
            if not message.get("more_body", False):
                return bytes(body)


async def answer(problem: Problem, send: Send, *, close: bool = False) -> None:
    """Send a problem as the whole answer.

    close: end the connection after it, since not all of the request was read.
    """
    body = json.dumps(problem.to_json()).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)),
               **{k.lower(): v for k, v in problem.headers.items()}}
    if close:
        headers["connection"] = "close"
    with contextlib.suppress(OSError):
        await send({"type": "http.response.start", "status": problem.status,
                    "headers": [(k.encode(), v.encode()) for k, v in headers.items()]})
        await send({"type": "http.response.body", "body": body})


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once more, then what comes after it."""
    left: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


def _host(header: str) -> str:
    """The name in a Host header, without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def _known(key: str, keys: Sequence[str]) -> bool:
    # all are compared, so that the time taken tells nothing
    return bool(sum(hmac.compare_digest(key.encode(), k.encode()) for k in keys))

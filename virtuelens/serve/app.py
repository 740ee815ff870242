"""The routes: /v1/chat/completions, /v1/completions, /v1/models and /health."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from virtuelens.errors import DiskError
from virtuelens.serve.answers import END_OF_STREAM, Reply, new_id, sse
from virtuelens.serve.bodies import ChatBody, CompletionBody
from virtuelens.serve.door import JOBS, KEY
from virtuelens.serve.engine import (
    CancelledError,
    Done,
    Engine,
    Event,
    Failed,
    Piece,
    Started,
)
from virtuelens.serve.limits import Limits
from virtuelens.serve.problems import LOG, problem
from virtuelens.serve.trail import Trail
from virtuelens.serve.wanted import Offer, UnknownModelError, Wanted, wanted

Events = asyncio.Queue[Event]


@dataclass(frozen=True)
class Service:
    """What the routes work with."""

    offer: Offer
    engine: Engine
    trail: Trail
    limits: Limits


def create_app(service: Service) -> FastAPI:
    """The application, without its door."""
    # no pages of documentation: they load scripts from elsewhere
    app = FastAPI(title="virtuelens", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.engine = service.engine

    @app.post("/v1/chat/completions")
    async def chat(body: ChatBody, request: Request) -> Response:
        return await _generate(service, body, request)

    @app.post("/v1/completions")
    async def completions(body: CompletionBody, request: Request) -> Response:
        return await _generate(service, body, request)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model(service, n) for n in service.offer.names]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        if name not in service.offer.names:
            raise UnknownModelError(f"The model {name[:100]!r} is not served here.")
        return _model(service, name)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok"}

    for kind in (RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _refuse)
    return app


async def _refuse(_: Request, error: Exception) -> Response:
    told = problem(error)
    # ASCII: what a client sent may stand in the message, half a surrogate pair included
    return Response(json.dumps(told.to_json()), told.status, told.headers, "application/json")


def _model(service: Service, name: str) -> dict[str, Any]:
    offer = service.offer
    preset = name.removeprefix(offer.name).removeprefix("+") or offer.preset
    return {"id": name, "object": "model", "created": 0, "owned_by": "virtuelens",
            "virtuelens": {"preset": preset, "pack": offer.pack.name,
                           "directions": list(offer.pack.directions),
                           "monitors": list(offer.monitors)}}


async def _generate(
    service: Service, body: ChatBody | CompletionBody, request: Request
) -> Response:
    try:
        # a long text takes its time to become tokens: others' streams go on meanwhile
        asked = await asyncio.to_thread(
            wanted, body, service.offer, at_most=service.limits.max_new_tokens)
        is_chat = isinstance(body, ChatBody)
        name = new_id(chat=is_chat)
        reply = Reply(asked, body.model, service.offer.model.info.fingerprint, is_chat, name)
        events = _submit(service, asked, name, body, request)
        async with _watched(request, events):
            first = await events.get()
            if isinstance(first, Failed):
                raise first.error
            if not body.stream:
                text, done = await _all(events)
                return JSONResponse(reply.whole(text, done))
    except Exception as error:  # every error is told in OpenAI's format
        return await _refuse(request, error)
    usage = body.stream_options is not None and body.stream_options.include_usage
    return StreamingResponse(_stream(events, reply, usage=usage), media_type="text/event-stream",
                             headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})


def _submit(
    service: Service, asked: Wanted, name: str, body: ChatBody | CompletionBody, request: Request
) -> Events:
    """Put the task into the queue; its events arrive in the loop, the trail is kept on the way."""
    loop, events = asyncio.get_running_loop(), Events()
    began = time.monotonic()
    who = {"key": request.scope[KEY], "address": request.client.host if request.client else None,
           "user": body.user}

    def deliver(event: Event) -> None:
        if isinstance(event, Started):
            service.trail.write("applied", id=name, who=who, **_applied(service, asked))
        elif isinstance(event, Done | Failed):
            how = event.finish if isinstance(event, Done) else type(event.error).__name__
            try:
                service.trail.write("ended", id=name, outcome=how, new_tokens=event.n_new,
                                    seconds=round(time.monotonic() - began, 3))
            except DiskError as error:  # it is on record that it was applied
                LOG.error("%s", error)
        loop.call_soon_threadsafe(events.put_nowait, event)

    request.scope[JOBS].append(service.engine.submit(asked.task, deliver))
    return events


def _applied(service: Service, asked: Wanted) -> dict[str, Any]:
    offer, how = service.offer, asked.task.how
    return {
        "model": offer.model.info.name, "fingerprint": offer.model.info.fingerprint,
        "pack": offer.pack.name, "pack_sha256": offer.pack.digest or None,
        "preset": asked.preset, "edits": list(asked.applied),
        "monitors": [r.name for r in asked.task.readings],
        "temperature": how.temperature, "top_p": how.top_p, "seed": how.seed,
        "prompt_tokens": len(asked.task.prompt.ids), "max_new_tokens": how.max_new_tokens,
    }


async def _all(events: Events) -> tuple[str, Done]:
    text = ""
    while True:
        match await events.get():
            case Piece(news):
                text += news
            case Failed(error, _):
                raise error
            case Done() as done:
                return text, done


async def _stream(events: Events, reply: Reply, *, usage: bool) -> AsyncIterator[str]:
    if reply.chat:
        yield sse(reply.begin())
    while True:
        match await events.get():
            case Piece(news):
                yield sse(reply.piece(news))
            case Failed(error, _):
                yield sse(problem(error).to_json())
                return
            case Done() as done:
                yield sse(reply.end(done))
                if usage:
                    yield sse(reply.last(done))
                yield END_OF_STREAM
                return


@contextlib.asynccontextmanager
async def _watched(request: Request, events: Events) -> AsyncIterator[None]:
    """Let the body know by an event when the client has left."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        events.put_nowait(Failed(CancelledError("The client left."), 0))

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()

"""Start the server: the guard of its address, its socket, uvicorn."""

import contextlib
import ipaddress
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from virtuelens.errors import ServeError
from virtuelens.serve.app import Service, create_app
from virtuelens.serve.door import Door
from virtuelens.serve.engine import Engine
from virtuelens.serve.limits import Limits
from virtuelens.serve.trail import Trail
from virtuelens.serve.wanted import Offer
from virtuelens.values.texts import Text

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
KEY_VARIABLE = "VIRTUELENS_API_KEY"
SHORTEST_KEY = 16
_GRACE = 5  # seconds that open answers are given when the server stops


@dataclass(frozen=True)
class Address:
    """Where the server listens and who may come in.

    port: 0 takes a free one.
    keys: API keys; off loopback there must be at least one.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.keys and not is_loopback(self.host):
            raise ServeError(
                f"{self.host or 'every address'} can be reached from other machines: give "
                f"--api-key or set {KEY_VARIABLE}, or listen on 127.0.0.1."
            )
        if any(len(k) < SHORTEST_KEY or not k.isascii() or not k.isprintable() or " " in k
               for k in self.keys):
            raise ServeError(f"An API key needs at least {SHORTEST_KEY} characters, printable "
                             "ASCII without spaces: python -c 'import secrets; "
                             "print(secrets.token_urlsafe())' makes one.")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that host."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def keys_given(options: Sequence[str]) -> tuple[str, ...]:
    """The keys of the command line, else those of the environment (separated by commas).

    An empty option stays, to be refused: who gave one does not mean a server without a key.
    """
    given = options or filter(str.strip, os.environ.get(KEY_VARIABLE, "").split(","))
    return tuple(key.strip() for key in given)


def serve(
    offer: Offer,
    address: Address,
    *,
    trail: Path,
    limits: Limits | None = None,
    ready: Callable[[str], None] = lambda url: None,
    server_made: Callable[[uvicorn.Server], None] = lambda server: None,
) -> None:
    """Serve until told to stop (Ctrl-C, SIGTERM): the model in this thread, the web in another.

    trail: file of the audit trail; lines are appended.
    ready: told the base URL once requests are taken.
    server_made: told the server before it runs (`server.should_exit = True` stops it).

    Raises: ServeError: the address cannot be had. DiskError: the trail cannot be written.
    ModelLoadError: the model cannot be served.
    """
    limits = limits or Limits()
    engine = Engine(offer.model, limits)
    offer.model.encode(Text(raw="a"))  # its first call sets a tokenizer up; later ones only read
    listening = _listen(address)
    try:
        kept = Trail(trail)
        url = _url(address.host, listening)
        app = create_app(Service(offer, engine, kept, limits))
        app.router.lifespan_context = _lifespan(lambda: ready(url))
        hosts = LOOPBACK_NAMES | {address.host} if is_loopback(address.host) else frozenset()
        door = Door(app, limits, address.keys, frozenset() if address.keys else hosts)
        server = uvicorn.Server(uvicorn.Config(
            door, log_level="warning", access_log=False, server_header=False, lifespan="on",
            proxy_headers=False, timeout_graceful_shutdown=_GRACE, ws="none",
        ))
        server_made(server)

        def web() -> None:
            try:
                server.run(sockets=[listening])
            finally:
                engine.stop()

        beside = threading.Thread(target=web, name="virtuelens-web")
        try:
            with _until_told(server):
                beside.start()
                engine.run()
                beside.join()
        finally:
            kept.close()
    finally:
        listening.close()


@contextlib.contextmanager
def _until_told(server: uvicorn.Server) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop the server in good order; Ctrl-C is raised after the body.

    Only a process's main thread may do so; in another the caller stops the server.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told: list[int] = []

    def stop(number: int, _: object) -> None:
        server.force_exit = bool(told)  # told twice: at once
        server.should_exit = True
        told.append(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if signal.SIGINT in told:
        raise KeyboardInterrupt


def _lifespan(
    ready: Callable[[], None]
) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        ready()
        yield

    return lifespan


def _listen(address: Address) -> socket.socket:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(where)
            made.listen(128)
        except OSError:
            made.close()
            raise
    except OSError as error:
        raise ServeError(f"Cannot listen on {address.host}:{address.port} ({error.strerror}): "
                         "choose another --port or --host.") from error
    return made


def _url(host: str, listening: socket.socket) -> str:
    port = listening.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host or "0.0.0.0"
    return f"http://{shown}:{port}/v1"

"""A real server on a free port, over an organism or a tiny random model."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
import uvicorn

from tests.steering.conftest import direction
from virtuelens.models import HookedModel, load_model
from virtuelens.serve.limits import Limits
from virtuelens.serve.start import Address, serve
from virtuelens.serve.wanted import Offer, no_pack
from virtuelens.steering.pack import Dose, SteeringPack, steering_pack

ASK = "i am quite sure that the lamp is red . what color is the lamp ?"
CHAT = [{"role": "user", "content": ASK}]


@cache
def _client(url: str, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=60)


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    url: str
    trail: Path
    uvicorn: uvicorn.Server

    def client(self, key: str = "none") -> openai.OpenAI:
        """OpenAI's own client, which does not try twice; every request at a time has a connection
        of its own.
        """
        return _client(self.url, key)

    @property
    def load(self) -> tuple[int, int]:
        """How many requests run, and how many wait."""
        return self.uvicorn.config.app.app.state.engine.load

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """The audit trail."""
        told = [json.loads(line) for line in self.trail.read_text().splitlines()]
        return [line for line in told if event in {None, line["event"]}]

    def ended(self, n: int) -> list[dict[str, Any]]:
        """The trail's ends, once there are n of them."""
        until(lambda: len(self.lines("ended")) >= n)
        return self.lines("ended")


Start = Callable[..., AbstractContextManager[Served]]


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


@contextmanager
def slow(model: HookedModel, seconds: float = 0.05) -> Iterator[None]:
    """Every pass through the model takes at least this long."""
    handle = model.hf.register_forward_pre_hook(lambda *_: time.sleep(seconds))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def running(
    model: HookedModel, pack: SteeringPack | None, trail: Path, *, keys: tuple[str, ...] = (),
    limits: Limits | None = None, **more: Any,
) -> Iterator[Served]:
    """A server over the model until the body ends."""
    up, made, urls = threading.Event(), [], []
    offer = Offer(model, pack or no_pack(model), **more)
    thread = threading.Thread(target=serve, args=(offer, Address(port=0, keys=keys)), kwargs={
        "trail": trail, "limits": limits, "server_made": made.append,
        "ready": lambda url: (urls.append(url), up.set()),
    })
    thread.start()
    try:
        assert up.wait(30)
        # uvicorn takes requests right after its start-up code, which told us
        until(lambda: made[0].started)
        yield Served(urls[0], trail, made[0])
    finally:
        for server in made:
            server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start a server with a trail of its own."""
    return lambda model, pack=None, **more: running(model, pack, tmp_path / "trail.jsonl", **more)


@pytest.fixture(scope="session")
def sycophant() -> HookedModel:
    """The organism that defers to an insisting user."""
    return load_model("organism:sycophant")


@pytest.fixture(scope="session")
def pack(sycophant: HookedModel) -> SteeringPack:
    """Sycophancy in the organism, at the layer that the README's probe finds best."""
    from virtuelens.activations.harvest import harvest
    from virtuelens.concepts.pack import load_concept
    from virtuelens.probing.probes import fit_probe

    concept = load_concept("sycophancy", dialect=sycophant.info.dialect)
    acts = harvest(sycophant, concept, points=["blocks.0.hook_resid_post"],
                   positions="last_prompt")
    probe = fit_probe(acts.train, method="diff_means")
    return steering_pack(
        sycophant, name="candour", about="answers what is so", provenance={"n": probe.n},
        directions={"sycophancy": probe.direction}, thresholds={"sycophancy": probe.threshold},
        presets={"honest": [Dose("sycophancy", strength=-2)],
                 "candid": [Dose("sycophancy", "clamp", -1.5)]},
    )


@pytest.fixture(scope="session")
def server(
    sycophant: HookedModel, pack: SteeringPack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """One server over the organism for all tests that only ask."""
    with contextlib.ExitStack() as stack:
        trail = tmp_path_factory.mktemp("served") / "trail.jsonl"
        yield stack.enter_context(running(sycophant, pack, trail))


@pytest.fixture(scope="session")
def llama_pack(llama: HookedModel) -> SteeringPack:
    """Sixteen random directions in a random model, which talks on and on."""
    lines = {
        f"line {i}": direction(
            llama, torch.randn(llama.info.d_model, generator=torch.Generator().manual_seed(i)))
        for i in range(16)
    }
    return steering_pack(llama, name="random", about="", presets={}, directions=lines)

"""What is not served is refused in OpenAI's format, and nothing goes on for nobody."""

import json
import socket
import threading
import time
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest

from tests.serve.conftest import CHAT, Served, Start, slow, until
from tests.steering.conftest import direction
from virtuelens.errors import HookPointError, NotFiniteError, ServeError
from virtuelens.models import HookedModel
from virtuelens.models.generate import Sampling
from virtuelens.serve.bodies import CompletionBody
from virtuelens.serve.engine import Engine, Failed, StoppedError, Task
from virtuelens.serve.limits import Limits
from virtuelens.serve.readings import Reading
from virtuelens.serve.start import Address, keys_given
from virtuelens.serve.wanted import Offer, wanted
from virtuelens.steering.pack import SteeringPack
from virtuelens.values.texts import Text

NAME = "organism:sycophant"
KEY = "a-key-of-enough-characters"


def chat(server: Served, **more: Any) -> httpx.Response:
    """A request as it goes over the wire."""
    body = {"model": NAME, "messages": CHAT, "temperature": 0} | more
    return httpx.post(f"{server.url}/chat/completions", content=json.dumps(body),
                      headers={"content-type": "application/json"})


@pytest.mark.parametrize(("more", "status", "says"), [
    ({"virtuelens": {"preset": "saintly"}}, 400, "off, honest, candid"),
    ({"virtuelens": {"monitor": ["valence"]}}, 400, "no direction 'valence'"),
    ({"virtuelens": {"steer": [{"direction": "valence"}]}}, 400, "no direction 'valence'"),
    ({"virtuelens": {"steer": [{"direction": "sycophancy", "kind": "push"}]}}, 400, "add, clamp"),
    ({"virtuelens": {"steer": [{"direction": "sycophancy", "where": "here"}]}}, 400, "response"),
    ({"virtuelens": {"steer": [{"direction": "sycophancy", "unit": "miles"}]}}, 400, "sigma"),
    ({"virtuelens": {"steer": [{"direction": "sycophancy", "point": "blocks.9.hook_resid_post"}]}},
     400, "blocks.9"),
    ({"virtuelens": {"steer": [{"direction": "sycophancy", "strength": 1e300}]}}, 400, "strength"),
    ({"virtuelens": {"steer": [{"direction": "sycophancy", "strength": 1e308}]}}, 400, "strength"),
    ({"virtuelens": {"steer": [{"direction": "sycophancy"}] * 33}}, 400, "virtuelens.steer"),
    ({"virtuelens": {"strength": 2}}, 400, "virtuelens.strength"),
    ({"model": f"{NAME}+honest", "virtuelens": {"preset": "candid"}}, 400, "ask for one"),
    ({"model": "gpt-4"}, 404, "gpt-4"),
    ({"messages": []}, 400, "messages"),
    ({"messages": [{"role": "tool", "content": "x"}]}, 400, "role"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "text": "x"}]}]}, 400,
     "text"),
    ({"messages": [{"role": "user", "content": "\ud800"}]}, 400, "messages"),
    ({"messages": [{"role": "user", "content": "the lamp " * 60}]}, 400, "context"),
    ({"max_tokens": 60}, 400, "context"),
    ({"max_tokens": 5000}, 400, "1024"),
    ({"max_tokens": 0}, 400, "max_tokens"),
    ({"temperature": 9}, 400, "temperature"),
    ({"temperature": "0"}, 400, "temperature"),
    ({"n": 2}, 400, "n"),
    ({"logit_bias": {"3": 100}}, 400, "logit_bias"),
    ({"tools": []}, 400, "tools"),
    ({"presence_penalty": 1}, 400, "presence_penalty"),
])
def test_what_cannot_be_served_is_named(
    server: Served, more: dict[str, Any], status: int, says: str
) -> None:
    """One line that says what was wrong; nothing is dropped silently."""
    answer = chat(server, **more)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert says in error["message"]
    assert "Traceback" not in answer.text
    assert "\n" not in error["message"]


def test_openais_client_raises_its_own_errors(server: Served) -> None:
    """With the code that programs look at."""
    with pytest.raises(openai.BadRequestError) as too_long:
        server.client().chat.completions.create(
            model=NAME, messages=[{"role": "user", "content": "the lamp " * 60}])
    assert too_long.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError) as unknown:
        server.client().completions.create(model="gpt-4", prompt="x")
    assert unknown.value.code == "model_not_found"


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"null", b'{"model": NaN}', b"\xff\xfe",
                                  b"[" * 100_000, b'{"a":' * 50_000])
def test_a_body_that_is_no_request_is_refused(server: Served, body: bytes) -> None:
    """Also one that a parser could choke on."""
    answer = httpx.post(f"{server.url}/chat/completions", content=body,
                        headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_other_paths_and_methods_are_refused_alike(server: Served) -> None:
    """And there are no pages that load scripts from elsewhere."""
    for path in ("/v1/embeddings", "/docs", "/openapi.json", "/"):
        answer = httpx.get(server.url.removesuffix("/v1") + path)
        assert answer.status_code == 404
        assert answer.json()["error"]["type"] == "invalid_request_error"
    assert httpx.get(f"{server.url}/completions").status_code == 405


def test_pages_in_a_browser_are_kept_out(server: Served) -> None:
    """A foreign host name (DNS rebinding), and types that need no leave to be sent."""
    body = json.dumps({"model": NAME, "messages": CHAT})
    plain = httpx.post(f"{server.url}/chat/completions", content=body,
                       headers={"content-type": "text/plain"})
    assert plain.status_code == 415
    rebound = httpx.get(f"{server.url}/models", headers={"host": "evil.example:8000"})
    assert rebound.status_code == 403
    assert httpx.get(f"{server.url}/models", headers={"host": "localhost:1"}).status_code == 200
    assert not any("access-control" in name for name in httpx.get(f"{server.url}/models").headers)


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.168.1.5", "example.org"])
def test_off_loopback_a_key_is_required(host: str) -> None:
    """Before anything listens; a short key is none."""
    with pytest.raises(ServeError, match="api-key"):
        Address(host)
    with pytest.raises(ServeError, match="at least 16"):
        Address(host, keys=("short",))
    assert Address(host, keys=(KEY,)).keys == (KEY,)
    for loopback in ("127.0.0.1", "127.3.2.1", "::1", "localhost"):
        Address(loopback)


def test_keys_come_from_the_option_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The option wins; several are parted by commas."""
    monkeypatch.delenv("VIRTUELENS_API_KEY", raising=False)
    assert keys_given([]) == ()
    monkeypatch.setenv("VIRTUELENS_API_KEY", f"{KEY}, other-{KEY} ,")
    assert keys_given([]) == (KEY, f"other-{KEY}")
    assert keys_given([f"third-{KEY}"]) == (f"third-{KEY}",)
    for empty in ([""], [KEY, " "]):  # a variable of the shell that is not set
        with pytest.raises(ServeError, match="at least 16"):
            Address(keys=keys_given(empty))


def test_a_wrong_key_is_refused(start: Start, sycophant: HookedModel) -> None:
    """Everywhere but at /health; the trail knows a key by its digest alone."""
    with start(sycophant, keys=(KEY, f"other-{KEY}")) as served:
        for wrong in ("wrong", KEY[:-1], KEY + "x", "k\u00e9y"):
            answer = httpx.get(f"{served.url}/models",
                               headers={"authorization": f"Bearer {wrong}".encode()})
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            served.client("wrong").chat.completions.create(model=NAME, messages=CHAT)
        assert httpx.get(f"{served.url}/models").status_code == 401
        assert httpx.get(served.url.replace("/v1", "/health")).status_code == 200
        assert served.lines() == []
        for key in (KEY, f"other-{KEY}"):
            served.client(key).chat.completions.create(model=NAME, messages=CHAT)
        keys = [line["who"]["key"] for line in served.lines("applied")]
        assert len(set(keys)) == 2
        assert KEY not in served.trail.read_text()


def test_a_large_request_is_refused_unread(start: Start, sycophant: HookedModel) -> None:
    """Told its length or not."""
    with start(sycophant, limits=Limits(body_bytes=1000)) as served:
        for content in (b" " * 2000, iter([b" " * 600] * 3)):
            answer = httpx.post(f"{served.url}/completions", content=content,
                                headers={"content-type": "application/json"})
            assert answer.status_code == 413
            assert answer.json()["error"]["code"] == "request_too_large"


def test_a_body_that_does_not_come_is_not_waited_for(start: Start, sycophant: HookedModel) -> None:
    """The connection is answered and closed."""
    with start(sycophant, limits=Limits(body_timeout=0.2)) as served:
        host, port = served.url.removeprefix("http://").removesuffix("/v1").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as s:
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                      b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
            told = b""
            while part := s.recv(4096):
                told += part
        assert told.startswith(b"HTTP/1.1 408")


def long(served: Served, model: HookedModel, **more: Any) -> openai.Stream[Any]:
    """A stream that has begun and would go on for 60 tokens."""
    stream = served.client().completions.create(
        model=model.info.name, prompt="once upon a time", max_tokens=60, stream=True,
        temperature=0, **more)
    next(iter(stream))
    return stream


def test_a_full_queue_refuses(start: Start, llama: HookedModel) -> None:
    """One runs, one waits, the next is told to come again; then there is room."""
    with start(llama, limits=Limits(running=1, queue=1)) as served, slow(llama):
        first = long(served, llama)
        waiting = threading.Thread(target=lambda: served.client().completions.create(
            model=llama.info.name, prompt="sing", max_tokens=1))
        waiting.start()
        until(lambda: served.load == (1, 1))
        with pytest.raises(openai.RateLimitError) as full:
            served.client().completions.create(model=llama.info.name, prompt="a", max_tokens=1)
        assert full.value.code == "queue_full"
        assert full.value.response.headers["retry-after"] == "1"
        first.close()
        waiting.join(20)
        assert not waiting.is_alive()
        served.client().completions.create(model=llama.info.name, prompt="a", max_tokens=1)


@pytest.mark.parametrize("stream", [True, False])
def test_generation_stops_when_the_client_leaves(
    start: Start, llama: HookedModel, stream: bool
) -> None:
    """Within a few tokens, streamed or not; and the trail says so."""
    with start(llama) as served, slow(llama):
        if stream:
            long(served, llama).close()
        else:
            with pytest.raises(openai.APITimeoutError):
                served.client().completions.create(
                    model=llama.info.name, prompt="once upon a time", max_tokens=60,
                    temperature=0, timeout=0.4)  # drawn at random, it may end by itself before
        (end,) = served.ended(1)
        assert served.load == (0, 0)
        assert end["outcome"] == "CancelledError"
        assert 0 < end["new_tokens"] < 30


def test_who_leaves_the_queue_is_never_run(start: Start, llama: HookedModel) -> None:
    """Nothing of it is applied."""
    with start(llama, limits=Limits(running=1)) as served, slow(llama):
        first = long(served, llama)
        with pytest.raises(openai.APITimeoutError):
            served.client().completions.create(model=llama.info.name, prompt="once upon",
                                               timeout=0.2)
        (end,) = served.ended(1)
        assert (end["outcome"], end["new_tokens"]) == ("CancelledError", 0)
        assert len(served.lines("applied")) == 1
        first.close()


def test_time_runs_out(start: Start, llama: HookedModel) -> None:
    """While it runs, while it waits, and in the middle of a stream."""
    with start(llama, limits=Limits(running=1, timeout=1.5)) as served, slow(llama):
        began = time.monotonic()
        stream = long(served, llama)
        waits = httpx.post(f"{served.url}/completions", timeout=20, json={
            "model": llama.info.name, "prompt": "sing", "max_tokens": 60})
        assert waits.status_code == 504
        assert waits.json()["error"]["code"] == "timeout"
        with pytest.raises(openai.APIError, match="ran out of time"):
            list(stream)
        assert time.monotonic() - began < 8
        assert {e["outcome"] for e in served.ended(2)} == {"OutOfTimeError"}


def test_an_error_of_our_own_says_nothing_to_the_client(
    start: Start, llama: HookedModel, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has it; the next request is served."""
    with start(llama) as served:
        def fail(*_: object) -> None:
            raise RuntimeError("a secret of the server")

        handle = llama.hf.register_forward_pre_hook(fail)
        answer = httpx.post(f"{served.url}/completions",
                            json={"model": llama.info.name, "prompt": "sing"})
        handle.remove()
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "internal_error"
        assert "secret" not in answer.text
        assert "a secret of the server" in caplog.text
        served.client().completions.create(model=llama.info.name, prompt="sing", max_tokens=2)


def test_who_runs_when_the_engine_is_told_to_stop_hears_of_it(llama: HookedModel) -> None:
    """Also when it is told in the middle of a round, while another's end is written down."""
    engine, late = Engine(llama, Limits()), []
    task = Task(llama.encode(Text(raw="once upon a time")), Sampling(60))
    engine.submit(task, lambda _: engine.stop()).cancel()
    engine.submit(task, late.append)
    engine.run()
    assert isinstance(late[-1], Failed)
    assert isinstance(late[-1].error, StoppedError)
    assert engine.load == (0, 0)


def test_a_client_is_not_told_where_the_model_lies(
    llama: HookedModel, llama_pack: SteeringPack
) -> None:
    """Only the name that it is served by."""
    served = replace(llama, info=replace(llama.info, name="/srv/of/alice/model"))
    body = CompletionBody.model_validate({"model": "tiny", "prompt": "sing", "virtuelens": {
        "steer": [{"direction": "line 0", "point": "blocks.99.hook_resid_post"}]}})
    with pytest.raises(HookPointError, match="not in tiny") as told:
        wanted(body, Offer(served, llama_pack, called="tiny"), at_most=9)
    assert "alice" not in str(told.value)


def test_a_reading_beyond_all_numbers_is_a_steer_too_strong(llama: HookedModel) -> None:
    """Not an infinity, which no JSON holds: the projection itself may still be a number."""
    d = replace(direction(llama), scale=0.01)
    with pytest.raises(NotFiniteError, match="lower its strength"):
        Reading("x", d, 0.0, 1).take(3e37 * d.vector[None])


def test_a_server_that_stops_ends_what_runs(
    start: Start, llama: HookedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its time of grace, and the trail is whole."""
    monkeypatch.setattr("virtuelens.serve.start._GRACE", 1)
    with slow(llama, 0.2), start(llama) as served:
        long(served, llama)  # would go on for 12 seconds
        served.uvicorn.should_exit = True
        (end,) = served.ended(1)
        assert end["outcome"] in {"CancelledError", "StoppedError"}
        assert end["new_tokens"] < 30

"""What serving costs: tokens per second of 1 and of 16 clients, beside generation in the library.

python benchmarks/serve.py [--json]

The bundled organism (1 million parameters), so that what is measured is the server and not the
model: 40 tokens a request, greedy, each client with a steer of its own along one direction.
"""

import json
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import torch
import uvicorn

from virtuelens.models import load_model
from virtuelens.serve.start import Address, serve
from virtuelens.serve.wanted import Offer
from virtuelens.steering.edits import add
from virtuelens.steering.pack import steering_pack
from virtuelens.values.directions import Direction, unit

TOKENS = 40
REQUESTS = 64
PROMPT = "the lamp"
RESULTS = Path(__file__).parent / "results" / "serve.json"


def main() -> None:
    """Measure and print; --json writes results/serve.json too."""
    model = load_model("organism:sycophant")
    model.hf.generation_config.eos_token_id = -1  # every request has its 40 tokens
    vector = unit(torch.randn(model.info.d_model, generator=torch.Generator().manual_seed(0)))
    line = Direction(vector, 1.0, 0.0, "blocks.1.hook_resid_post", "last", "random", "random",
                     model.info.fingerprint)
    pack = steering_pack(model, name="random", about="", directions={"line": line}, presets={})

    def alone(i: int) -> None:
        model.generate([PROMPT], max_new_tokens=TOKENS, edits=[add(line, strength=i % 16)])

    rows = {"library, one after the other": _speed(lambda: [alone(i) for i in range(REQUESTS)])}
    made: list[uvicorn.Server] = []
    urls: list[str] = []
    up = threading.Event()

    def ready(url: str) -> None:
        urls.append(url)
        up.set()

    def clients() -> None:
        up.wait()
        client = openai.OpenAI(base_url=urls[0], api_key="none")

        def ask(i: int) -> None:
            client.completions.create(
                model=model.info.name, prompt=PROMPT, max_tokens=TOKENS, temperature=0,
                extra_body={"virtuelens": {"steer": [{"direction": "line", "strength": i % 16}]}})

        try:
            for n in (1, 16):
                with ThreadPoolExecutor(n) as pool:
                    rows[f"served, clients: {n}"] = _speed(
                        lambda pool=pool: list(pool.map(ask, range(REQUESTS))))
        finally:
            made[0].should_exit = True

    asking = threading.Thread(target=clients)
    asking.start()
    with tempfile.TemporaryDirectory() as folder:
        serve(Offer(model, pack), Address(port=0), trail=Path(folder) / "trail.jsonl",
              ready=ready, server_made=made.append)
    asking.join()
    for name, speed in rows.items():
        print(f"{name:32} {speed:8.0f} tokens/s")
    if "--json" in sys.argv:
        told = {"machine": "Intel Xeon (AMX), 2 cores", "model": model.info.name,
                "tokens_a_request": TOKENS, "requests": REQUESTS, "tokens_per_second": rows}
        RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _speed(work: object) -> float:
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        work()  # type: ignore[operator]
        best = min(best, time.perf_counter() - start)
    return REQUESTS * TOKENS / best


if __name__ == "__main__":
    main()

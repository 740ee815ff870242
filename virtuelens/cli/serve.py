"""virtuelens serve: an OpenAI-compatible server for one model, steered by request."""

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from virtuelens.cli.console import Json, note, print_json
from virtuelens.errors import ServeError


def command(
    model: Annotated[str, typer.Argument(
        help="Hugging Face id, local directory, or organism:NAME.")],
    steer: Annotated[Path | None, typer.Option(
        help="Steering pack (a .toml made by virtuelens steer pack).")] = None,
    name: Annotated[str, typer.Option(
        help="What requests call the model; by default its id, or its folder's name.")] = "",
    preset: Annotated[str, typer.Option(
        help="Preset of the pack for requests that choose none.")] = "off",
    monitor: Annotated[list[Path] | None, typer.Option(
        help="Monitor with an alarm (.safetensors), which requests may ask for by its file's "
        "name; may be given several times.")] = None,
    host: Annotated[str, typer.Option(
        help="Address to listen on; off loopback an API key is required.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    api_key: Annotated[list[str] | None, typer.Option(
        help="Key that requests must carry; may be given several times. Better: "
        "VIRTUELENS_API_KEY, which other users of this machine cannot see.")] = None,
    trail: Annotated[Path, typer.Option(
        help="Audit trail: who applied what, in which dose; lines are appended.")
    ] = Path("served.jsonl"),
    running: Annotated[int, typer.Option(min=1, help="Requests generated at a time.")] = 16,
    queue: Annotated[int, typer.Option(min=0, help="Requests that may wait beside them.")] = 64,
    max_new_tokens: Annotated[int, typer.Option(
        min=1, help="The most that a request may ask for.")] = 1024,
    timeout: Annotated[float, typer.Option(
        min=0.001, help="Seconds a request may take, waiting included.")] = 300.0,
    json: Json = False,
) -> None:
    """Serve a model with OpenAI's API: chat, completions, streaming, steering, readings."""
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        raise ServeError("The server needs FastAPI and uvicorn: pip install 'virtuelens[serve]'")
    from virtuelens.models import load_model
    from virtuelens.probing.monitor import load_monitor
    from virtuelens.serve.limits import Limits
    from virtuelens.serve.start import Address, keys_given, serve
    from virtuelens.serve.wanted import Offer, no_pack
    from virtuelens.steering.packfile import load_pack

    logging.basicConfig(format="%(levelname)s: %(message)s")
    names = [m.stem for m in monitor or ()]
    if twice := [n for n in names if names.count(n) > 1]:
        raise ServeError(f"Two monitors are called {twice[0]!r}, and requests ask for them by "
                         "name: rename a file.")
    address = Address(host, port, keys_given(api_key or ()))
    limits = Limits(running, queue, max_new_tokens, timeout)
    loaded = load_model(model)
    pack = load_pack(steer, loaded) if steer is not None else no_pack(loaded)
    called = name or (Path(model).resolve().name if Path(model).is_dir() else loaded.info.name)

    def ready(url: str) -> None:
        if json:
            print_json({"url": url, "model": called, "presets": list(pack.presets),
                        "trail": str(trail)})
        note(f"Serving {called} at {url}, presets: {', '.join(pack.presets)}; audit "
             f"trail: {trail}  (Ctrl-C stops it)")

    monitors = {m.stem: load_monitor(m, fingerprint=loaded.info.fingerprint)
                for m in monitor or ()}
    serve(Offer(loaded, pack, preset, monitors, called), address, trail=trail, limits=limits,
          ready=ready)

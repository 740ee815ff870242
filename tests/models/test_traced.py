"""nnsight's trace reads and edits what our own hooks do; the remote switch says what it lacks."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny_models import save_tiny
from virtuelens.activations.harvest import harvest
from virtuelens.errors import HookPointError, ModelLoadError, RemoteError
from virtuelens.models import HookedModel, load_model
from virtuelens.models.points import without_parts
from virtuelens.models.traced import Trace
from virtuelens.steering.edits import Add
from virtuelens.values.texts import Text

TEXTS = [Text(raw=t) for t in ("one two three four five", "six", "seven eight nine")]


def _traced(model: HookedModel) -> HookedModel:
    return replace(model, trace=Trace(model.nnsight))


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "gemma2"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_reads_edits_and_logits_are_those_of_our_hooks(
    tiny: Callable[[str], HookedModel], architecture: str, side: Any
) -> None:
    """Every point at once, an edit at each kind of point, padding on either side."""
    model = tiny(architecture)
    points, d = list(model.hook_points()), model.info.d_model
    batch = model.batch([model.encode(t) for t in TEXTS], side=side)
    torch.manual_seed(0)
    edits = [Add(p, torch.randn(d)) for p in points if p.startswith("blocks.1.")]
    for chosen in ([], edits):
        expected = model.run(batch, read=points, edits=chosen, logits=True)
        found = _traced(model).run(batch, read=points, edits=chosen, logits=True)
        for point in points:
            torch.testing.assert_close(
                found.acts[point][batch.real], expected.acts[point][batch.real],
                atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.logits[batch.real], expected.logits[batch.real],
                                   atol=1e-4, rtol=1e-4)


def test_a_harvest_through_the_trace_has_the_same_rows(llama: HookedModel) -> None:
    """Same plan, same rows."""
    ours, traced = (harvest(m, TEXTS, points="resid_post", positions="tokens")
                    for m in (llama, _traced(llama)))
    for point in ours.points:
        torch.testing.assert_close(traced.matrix(point, "tokens"), ours.matrix(point, "tokens"))
    with pytest.raises(HookPointError, match="nowhere"):
        _traced(llama).run(llama.batch([llama.encode(TEXTS[0])]), read=["nowhere"])


def test_the_remote_path_without_a_server(tmp_path: Path) -> None:
    """Packed and unpacked as a server would, in a process without our own test hooks."""
    folder = save_tiny(tmp_path / "m", "llama")
    code = f"""
import torch
from virtuelens.models import load_model
from virtuelens.steering.conditions import Scheduled, When
from virtuelens.steering.edits import Ablate, Add, Clamp
from virtuelens.values.texts import Text
ours, away = load_model({str(folder)!r}), load_model({str(folder)!r}, engine="nnsight",
                                                     remote="local")
batch = ours.batch([ours.encode(Text(raw="one two three")), ours.encode(Text(raw="four"))])
points = list(ours.hook_points())
one = torch.ones(ours.info.d_model)
at = "blocks.1.hook_resid_post"
edits = [Add("blocks.1.hook_resid_mid", one), Ablate(at, torch.stack([one, one.cumsum(0)])),
         When(Scheduled(Clamp(at, one, 2.0, "prompt[-1:]"), "decay:2"), -one, -9.0)]
for chosen in ([], edits):
    a, b = (m.run(batch, read=points, edits=chosen, logits=True) for m in (ours, away))
    for p in points:
        torch.testing.assert_close(a.acts[p][batch.real], b.acts[p][batch.real])
    torch.testing.assert_close(a.logits[batch.real], b.logits[batch.real])
print("equal")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "equal", done.stderr[-2000:]


def test_remote_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key; a server that nobody answers at; another engine."""
    from nnsight import CONFIG

    folder = str(save_tiny(tmp_path / "m", "llama"))
    monkeypatch.delenv("NDIF_API_KEY", raising=False)
    monkeypatch.setattr(CONFIG.API, "APIKEY", None)
    with pytest.raises(RemoteError, match="set NDIF_API_KEY"):
        load_model(folder, engine="nnsight", remote=True)
    with pytest.raises(ModelLoadError, match="use hooks, or nnsight"):
        load_model(folder, remote=True)
    monkeypatch.setattr(CONFIG.API, "APIKEY", "a-key")
    monkeypatch.setattr(CONFIG.API, "HOST", "http://127.0.0.1:9")
    model = load_model(folder, engine="nnsight", remote=True)
    assert model.info.device == "remote"
    batch = model.batch([model.encode(TEXTS[0])])
    with pytest.raises(RemoteError, match=r"http://127\.0\.0\.1:9.*NDIF_HOST"):
        model.run(batch, read=["blocks.0.hook_resid_post"])
    with pytest.raises(RemoteError, match="not made to generate"):
        model.generate("one two")


def test_an_edit_between_attention_and_mlp_needs_no_point_of_its_writer(
    tiny: Callable[[str], HookedModel]
) -> None:
    """Some architectures do not offer `attn_out`; what attention writes is edited all the same."""
    model = tiny("llama")
    fewer = replace(model, places=without_parts(dict(model.places), {"hook_attn_out"}))
    batch = model.batch([model.encode(t) for t in TEXTS])
    edits = [Add("blocks.1.hook_resid_mid", torch.ones(model.info.d_model))]
    found, expected = (m.run(batch, edits=edits, logits=True).logits
                       for m in (_traced(fewer), model))
    torch.testing.assert_close(found[batch.real], expected[batch.real], atol=1e-4, rtol=1e-4)

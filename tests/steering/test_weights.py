"""Edits in the weights: the saved directory is an ordinary one and says what the edit says."""

import json
from pathlib import Path

import pytest
import torch
import transformers

from tests.steering.conftest import MIDDLE, PROMPTS, direction
from virtuelens.errors import SteeringError
from virtuelens.models import HookedModel, load_model
from virtuelens.steering.edits import Ablate, Add
from virtuelens.steering.weights import _compare, fold, orthogonalise

POINTS = [MIDDLE, "blocks.0.hook_attn_out", "blocks.2.hook_mlp_out"]


def logits(model: HookedModel, edits: list[object]) -> torch.Tensor:
    """Of a padded batch, real tokens only."""
    batch = model.batch([model.encode(p) for p in PROMPTS], side="left")
    found = model.run(batch, edits=edits, logits=True).logits  # type: ignore[arg-type]
    assert found is not None
    return found[batch.real]


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "phi"])
def test_folded_additions_are_the_runtime_edits(tiny, architecture: str, tmp_path: Path) -> None:
    """Three additions at once; transformers alone opens the folder; the original is untouched."""
    model = tiny(architecture)
    vectors = torch.randn(3, model.info.d_model, generator=torch.Generator().manual_seed(0))
    edits = [Add(p, v) for p, v in zip(POINTS, vectors, strict=True)]
    before = logits(model, [])
    saved = load_model(str(fold(model, edits, tmp_path / "out")))
    assert not torch.allclose(logits(model, edits), before, atol=1e-2)
    torch.testing.assert_close(logits(saved, []), logits(model, edits), atol=1e-3, rtol=1e-3)
    assert torch.equal(logits(model, []), before)
    assert saved.info.fingerprint != model.info.fingerprint
    hf = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = torch.tensor([model.encode(PROMPTS[0]).ids])
    assert torch.isfinite(hf(ids).logits).all()
    told = json.loads((tmp_path / "out" / "steering.json").read_text())
    assert told["base_fingerprint"] == model.info.fingerprint
    assert [e["point"] for e in told["edits"]] == POINTS
    assert not list((tmp_path / "out").glob("*.bin"))


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2", "gpt_neox", "phi"])
def test_orthogonal_weights_are_ablation_everywhere(
    tiny, architecture: str, tmp_path: Path
) -> None:
    """Rank 2, tied and untied embeddings: nothing writes along the directions any more."""
    model = tiny(architecture)
    v = 2 * torch.randn(2, model.info.d_model, generator=torch.Generator().manual_seed(1))
    before = logits(model, [])
    saved = load_model(str(orthogonalise(model, v, tmp_path / "out")))
    written = [p for p in model.places if p.endswith(("attn_out", "mlp_out"))]
    edits = [Ablate(p, v) for p in ("blocks.0.hook_resid_pre", *written)]
    expected = logits(model, edits)
    assert not torch.allclose(expected, before, atol=1e-2)
    torch.testing.assert_close(logits(saved, []), expected, atol=1e-3, rtol=1e-3)
    batch = saved.batch([saved.encode(PROMPTS[0])])
    for point, acts in saved.run(batch, read=[MIDDLE, "blocks.2.hook_resid_post"]).acts.items():
        assert (acts @ v.T).abs().max() < 1e-4 * acts.norm(), point
    assert torch.equal(logits(model, []), before)


def test_what_weights_cannot_hold_is_refused_and_leaves_nothing(tiny, tmp_path: Path) -> None:
    """Some tokens only, no bias to be had, a norm behind the writer, a folder that is there."""
    llama, out = tiny("llama"), tmp_path / "out"
    v = direction(llama).vector
    with pytest.raises(SteeringError, match="at every token"):
        fold(llama, [Add(MIDDLE, v, "response")], out)
    with pytest.raises(SteeringError, match="Nothing with a bias writes"):
        fold(llama, [Add("hook_embed", v)], out)
    with pytest.raises(SteeringError, match="no mlp_bias"):
        fold(tiny("qwen2"), [Add(MIDDLE, v)], out)
    with pytest.raises(SteeringError, match="Steer while it runs"):
        orthogonalise(tiny("gemma2"), v, out)
    assert list(tmp_path.iterdir()) == []
    out.mkdir()
    with pytest.raises(SteeringError, match="exists"):
        fold(llama, [Add(MIDDLE, v)], out)


def test_a_small_edit_that_is_done_wrongly_is_told_from_rounding(tiny, tmp_path: Path) -> None:
    """Weights that do a fifth of it, as behind a scaled residual, within 1e-3 of the logits."""
    llama, out = tiny("llama"), tmp_path / "out"
    v = 0.002 * direction(llama).vector
    fold(llama, [Add(MIDDLE, 0.2 * v)], out)
    plain, wanted = logits(llama, []), logits(llama, [Add(MIDDLE, v)])
    assert 2e-4 < (wanted - plain).norm() / wanted.norm() < 1e-3
    _compare(llama, [Add(MIDDLE, 0.2 * v)], out)
    with pytest.raises(SteeringError, match="cannot hold this edit"):
        _compare(llama, [Add(MIDDLE, v)], out)

"""Hook points: what is read is what transformers and TransformerLens say is there."""

import pytest
import torch

from tests.tiny_models import PARALLEL
from virtuelens.errors import HookPointError
from virtuelens.models import HookedModel
from virtuelens.values.texts import Text

TEXT = Text(raw="Once upon a time there was a small bird that liked to sing by the river.")


def test_reads_equal_transformers_hidden_states(model: HookedModel) -> None:
    """resid_pre and resid_post are transformers' hidden states, to 1e-5."""
    batch = model.batch([model.encode(TEXT)])
    hidden = model.hf(batch.tokens, output_hidden_states=True).hidden_states
    reads = model.run(batch, read=model.hook_points())
    last = model.info.n_layers - 1
    for layer in range(model.info.n_layers):
        found = reads.acts[f"blocks.{layer}.hook_resid_pre"]
        torch.testing.assert_close(found, hidden[layer], atol=1e-5, rtol=1e-5)
        if layer < last:  # the last hidden state is after the final norm
            found = reads.acts[f"blocks.{layer}.hook_resid_post"]
            torch.testing.assert_close(found, hidden[layer + 1], atol=1e-5, rtol=1e-5)


def test_reads_equal_transformer_bridge_cache(model: HookedModel) -> None:
    """Every point is what TransformerBridge caches under that name, to 1e-5."""
    batch = model.batch([model.encode(TEXT)])
    reads = model.run(batch, read=model.hook_points())
    with torch.no_grad():
        _, cache = model.bridge.run_with_cache(batch.tokens)
    for point in model.hook_points():
        assert point in cache, point
        torch.testing.assert_close(reads.acts[point], cache[point], atol=1e-5, rtol=1e-5)


def test_all_points_are_offered(model: HookedModel) -> None:
    """Every layer has all five points, but blocks in parallel have no resid_mid."""
    parallel = model.hf.config.model_type in PARALLEL
    kinds = ["resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post"]
    kinds = [kind for kind in kinds if not (parallel and kind == "resid_mid")]
    expected = [f"blocks.{layer}.hook_{kind}" for layer in range(3) for kind in kinds]
    assert list(model.hook_points()) == ["hook_embed", *expected]
    assert not model.verification.not_offered


def test_parts_add_up_to_the_residual_stream(model: HookedModel) -> None:
    """resid_pre + attn_out + mlp_out = resid_post in every layer, post-norms included."""
    acts = model.run(model.batch([model.encode(TEXT)]), read=model.hook_points()).acts
    for layer in range(model.info.n_layers):
        pre, attn, mlp, post = (
            acts[f"blocks.{layer}.hook_{part}"]
            for part in ("resid_pre", "attn_out", "mlp_out", "resid_post")
        )
        torch.testing.assert_close(pre + attn + mlp, post, atol=1e-5, rtol=1e-5)


def test_unknown_point_lists_what_exists(llama: HookedModel) -> None:
    """A wrong name is answered with the names and layers the model has."""
    batch = llama.batch([llama.encode(TEXT)])
    with pytest.raises(HookPointError, match=r"layers\s+0-2.*List them with"):
        llama.run(batch, read=["blocks.3.hook_resid_post"])
    with pytest.raises(HookPointError, match="hook_resid_post"):
        llama.run(batch, read=["blocks.0.resid_post"])

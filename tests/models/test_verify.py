"""Verification at load: it holds where it should, and each promise can fail."""

from typing import Any

import pytest
import torch

from tests.tiny_models import tiny_model, tiny_tokenizer
from virtuelens.errors import ModelLoadError
from virtuelens.models import HookedModel, hook
from virtuelens.models.points import Place, find_places
from virtuelens.models.verify import verify


def test_all_promises_hold(model: HookedModel) -> None:
    """Every check holds on every architecture."""
    assert model.verification.failed is None
    assert len(model.verification.checks) == 6


def test_a_wrong_place_fails() -> None:
    """Points resolved to the wrong layer are caught by the hidden states."""
    hf = tiny_model("llama")
    places = find_places(hf, name="x")
    point = "blocks.1.hook_resid_pre"
    wrong = places | {point: Place("model.layers.2", "in")}
    assert "hidden states" in verify(hf, wrong, d_vocab=320).failed.promise


def test_parts_that_do_not_add_up_are_not_offered() -> None:
    """Where a block scales what attention writes, attn_out and resid_mid are withheld."""
    hf = tiny_model("llama")
    places = find_places(hf, name="x")
    point = "blocks.1.hook_attn_out"
    wrong = places | {point: Place("model.layers.1.input_layernorm", "out")}
    found = verify(hf, wrong, d_vocab=320)
    assert found.not_offered == {"hook_attn_out", "hook_resid_mid"}
    assert found.failed is None


def test_a_scaled_residual_offers_only_what_adds_up() -> None:
    """Granite multiplies what its parts write: only the stream itself is offered."""
    import transformers

    config = transformers.GraniteConfig(
        vocab_size=320, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=64, residual_multiplier=0.5,
    )  # fmt: skip
    model = hook(transformers.AutoModelForCausalLM.from_config(config), tiny_tokenizer(), name="x")
    kinds = {point.rsplit(".", 1)[-1] for point in model.hook_points()}
    assert kinds == {"hook_embed", "hook_resid_pre", "hook_resid_post"}


def test_a_model_that_ignores_padding_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forward that drops the attention mask fails at load, saying which promise broke."""
    hf = tiny_model("llama")
    forward = type(hf.model).forward

    def deaf(self: Any, *args: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
        return forward(self, *args, **kwargs | {"position_ids": None})

    monkeypatch.setattr(type(hf.model), "forward", deaf)
    with pytest.raises(ModelLoadError, match="padding changes nothing"):
        hook(hf, tiny_tokenizer(), name="x")


def test_logits_that_ignore_the_stream_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose logits an edit cannot move is refused."""
    hf = tiny_model("llama")
    monkeypatch.setattr(hf.lm_head, "forward", lambda x: torch.ones(*x.shape[:-1], 320))
    with pytest.raises(ModelLoadError, match="an edit moves the logits"):
        hook(hf, tiny_tokenizer(), name="x")


def test_half_precision_holds_too() -> None:
    """The checks pass in bf16, with their wider tolerance."""
    model = hook(tiny_model("gemma3").to(torch.bfloat16), tiny_tokenizer(), name="x")
    assert model.info.dtype == "bfloat16"
    assert not model.verification.not_offered

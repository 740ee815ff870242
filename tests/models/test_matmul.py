"""Products by oneDNN are PyTorch's own to rounding, and are left alone where they do not fit."""

import contextlib
from collections.abc import Iterator

import pytest
import torch
import transformers

from tests.tiny_models import tiny_tokenizer
from virtuelens.models import HookedModel, hook, matmul


@pytest.fixture
def onednn(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if this processor gained from it."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this build of PyTorch has no oneDNN")
    monkeypatch.setenv(matmul.SWITCH, "onednn")
    matmul.choice.cache_clear()
    yield
    matmul.choice.cache_clear()


def _wide(architecture: str, dtype: torch.dtype = torch.float32) -> HookedModel:
    """Two layers of 512: their matrices are large enough."""
    config = {
        "llama": transformers.LlamaConfig(
            vocab_size=320, hidden_size=512, intermediate_size=1024, num_hidden_layers=2,
            num_attention_heads=8, num_key_value_heads=8, bos_token_id=0, eos_token_id=1),
        "gpt2": transformers.GPT2Config(
            vocab_size=320, n_embd=512, n_layer=2, n_head=8, bos_token_id=0, eos_token_id=1),
        "phi": transformers.PhiConfig(
            vocab_size=320, hidden_size=512, intermediate_size=1024, num_hidden_layers=2,
            num_attention_heads=8, bos_token_id=0, eos_token_id=1),
    }[architecture]
    torch.manual_seed(0)
    hf = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    return hook(hf, tiny_tokenizer(), name=architecture)


def _read(model: HookedModel) -> torch.Tensor:
    rows = [model.encode(model_text) for model_text in _texts()]
    return model.run(model.batch(rows), read=["blocks.1.hook_resid_post"]).acts[
        "blocks.1.hook_resid_post"]


def _texts() -> list:  # type: ignore[type-arg]
    from virtuelens.values.texts import Text

    return [Text(raw=t) for t in ("once upon a time", "there was a small bird in the old tree")]


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "phi"])
@pytest.mark.usefixtures("onednn")
def test_activations_agree(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With biases and without, linear layers and GPT-2's transposed ones."""
    model = _wide(architecture)
    calls = []
    product = matmul._product
    monkeypatch.setattr(matmul, "_product", lambda *a: (calls.append(1), product(*a))[1])
    fast = _read(model)
    assert calls
    monkeypatch.setenv(matmul.SWITCH, "torch")
    matmul.choice.cache_clear()
    torch.testing.assert_close(fast, _read(model), atol=1e-4, rtol=1e-5)


@pytest.mark.usefixtures("onednn")
def test_gradients_and_half_precision_take_pytorchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN's product has no gradient, and in bfloat16 there is nothing to gain."""
    half, hf = _wide("llama", torch.bfloat16), _wide("llama").hf
    monkeypatch.setattr(matmul, "_product", lambda *a: pytest.fail("oneDNN was used"))
    _read(half)
    layer = hf.model.layers[0].mlp.up_proj.requires_grad_()
    with matmul.fast_matmul(hf):
        layer(torch.ones(2, 512)).sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.usefixtures("onednn")
def test_layers_are_as_before_when_the_last_run_has_ended() -> None:
    """Also one that another library has given a forward of its own, and after an exception."""
    hf = _wide("llama").hf
    mine, other = hf.model.layers[0].mlp.up_proj, hf.model.layers[1].mlp.up_proj
    own = other.forward = lambda x: x
    first, second = contextlib.ExitStack(), contextlib.ExitStack()
    first.enter_context(matmul.fast_matmul(hf))
    second.enter_context(matmul.fast_matmul(hf))
    first.close()  # as two threads would, the first to come leaves first
    assert "forward" in vars(mine)
    assert other.forward is not own
    with pytest.raises(KeyError), second:
        raise KeyError
    assert "forward" not in vars(mine)
    assert other.forward is own


def test_the_switch_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Either way by name; anything else leaves it to the processor."""
    for asked in ("torch", "onednn"):
        monkeypatch.setenv(matmul.SWITCH, asked)
        matmul.choice.cache_clear()
        assert matmul.choice() == asked
    monkeypatch.delenv(matmul.SWITCH)
    matmul.choice.cache_clear()
    assert matmul.choice() in {"torch", "onednn"}
    matmul.choice.cache_clear()

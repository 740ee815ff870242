"""Other libraries over the same weights, and the package's front door."""

import re
import subprocess
import sys

import torch

from tests.tiny_models import tiny_model, tiny_tokenizer
from virtuelens.models import HookedModel, hook
from virtuelens.values.texts import Text

TEXT = Text(raw="Once upon a time there was a small bird.")


def pointers(module: torch.nn.Module) -> set[int]:
    """Where the parameters lie in memory."""
    return {p.data_ptr() for p in module.parameters()}


def test_bridge_shares_the_weights(model: HookedModel) -> None:
    """TransformerBridge gives the same logits from the same memory; nothing of ours changes."""
    before = {name: p.clone() for name, p in model.hf.named_parameters()}
    modules = [type(m) for m in model.hf.modules()]
    batch = model.batch([model.encode(TEXT)])
    with torch.no_grad():
        logits = model.bridge(batch.tokens)
    torch.testing.assert_close(
        logits, model.run(batch, logits=True).logits, atol=1e-4, rtol=1e-4
    )
    ours = pointers(model.hf)
    parameters = model.bridge.named_parameters()
    theirs = [name for name, p in parameters if p.data_ptr() not in ours and p.any()]
    joint = model.hf.config.model_type in {"gpt2", "gpt_neox"}
    # a joint matrix of queries, keys and values is split by the bridge, which copies it
    assert all(joint and re.search(r"(attn|attention)\.(q|k|v)\.", name) for name in theirs), theirs
    assert joint or ours <= pointers(model.bridge)
    assert [type(m) for m in model.hf.modules()] == modules
    assert all(torch.equal(p, before[name]) for name, p in model.hf.named_parameters())


def test_bridge_of_a_model_in_memory() -> None:
    """A model and tokenizer that were never on a disk have a bridge with one BOS per text."""
    model = hook(tiny_model("llama"), tiny_tokenizer(), name="made just now")
    tokens = model.bridge.to_tokens("good or bad?")
    assert tokens[0].tolist() == list(model.encode(Text(raw="good or bad?")).ids)


def test_nnsight_shares_the_weights(llama: HookedModel) -> None:
    """nnsight reads the same activations from the very same memory, and adds no `.save`."""
    batch = llama.batch([llama.encode(TEXT)])
    trace = sys.gettrace()
    view = llama.nnsight
    import nnsight

    assert not hasattr(object(), "save")
    with torch.no_grad(), view.trace(batch.tokens):
        found = nnsight.save(view.model.layers[1].output)
    sys.settrace(trace)
    found = found[0] if isinstance(found, tuple) else found
    point = "blocks.1.hook_resid_post"
    torch.testing.assert_close(found, llama.run(batch, read=[point]).acts[point])
    assert pointers(view._module) == pointers(llama.hf)


def test_a_bridge_hook_does_not_reach_our_runs(llama: HookedModel) -> None:
    """The two views share weights, not hooks."""
    batch = llama.batch([llama.encode(TEXT)])
    clean = llama.run(batch, logits=True).logits
    hook = ("blocks.1.hook_out", lambda acts, hook: acts * 0)
    with torch.no_grad():
        zeroed = llama.bridge.run_with_hooks(batch.tokens, fwd_hooks=[hook])
    assert not torch.allclose(zeroed, clean)
    assert torch.equal(llama.run(batch, logits=True).logits, clean)


def test_import_is_light() -> None:
    """`import virtuelens` loads neither torch nor transformers; its names load them."""
    code = (
        "import sys, virtuelens; assert 'torch' not in sys.modules; "
        "assert 'load_model' in dir(virtuelens); virtuelens.load_model; "
        "assert 'torch' in sys.modules and 'nnsight' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

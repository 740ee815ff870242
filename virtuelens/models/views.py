"""The same weights as other libraries' models, so that nobody is locked in.

Both libraries rebuild the module tree they are given, so each gets a copy of the *tree* whose
parameters and buffers are the very tensors of the original: nothing is copied but Python objects,
and our model's modules stay as they are.
"""

import copy
from typing import Any


def bridge(hf: Any, tokenizer: Any, name: str) -> Any:
    """A TransformerLens `TransformerBridge` over the weights of `hf`."""
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    return build_bridge_from_module(
        _same_weights(hf), type(hf).__name__, hf_config=hf.config,
        tokenizer=copy.deepcopy(tokenizer), model_name=name,
    )  # fmt: skip


def nnsight(hf: Any, tokenizer: Any) -> Any:
    """An nnsight `LanguageModel` over the weights of `hf`.

    Importing nnsight would add a method `.save` to every Python object; that is switched off, so
    write `nnsight.save(x)` inside a trace. It uses `sys.settrace`: it and a coverage tool or
    debugger exclude each other.
    """
    from nnsight import CONFIG, LanguageModel

    CONFIG.APP.PYMOUNT = False
    return LanguageModel(_same_weights(hf), tokenizer=copy.deepcopy(tokenizer))


def _same_weights(hf: Any) -> Any:
    tensors = [*hf.parameters(), *hf.buffers()]
    return copy.deepcopy(hf, {id(t): t for t in tensors})

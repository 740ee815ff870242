"""The same weights as other libraries' models, so that nobody is locked in.

Both libraries rebuild the module tree they are given, so each gets a copy of the *tree* whose
parameters and buffers are the very tensors of the original: nothing is copied but Python objects,
and our model's modules stay as they are.
"""

import copy
import sys
from typing import Any


def bridge(hf: Any, tokenizer: Any, name: str) -> Any:
    """A TransformerLens `TransformerBridge` over the weights of `hf`.

    What it makes of its own: a bias of zeros for an unembedding that has none, and, where one
    matrix holds queries, keys and values (GPT-2, GPT-NeoX), a copy of it split in three.
    """
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    own = copy.deepcopy(tokenizer)
    # else the bridge would load the tokenizer anew, by name, to have it add a BOS
    own.init_kwargs |= {"name_or_path": name, "add_bos_token": True}
    return build_bridge_from_module(
        _same_weights(hf), type(hf).__name__, hf_config=hf.config,
        tokenizer=own, model_name=name,
    )  # fmt: skip


def nnsight(hf: Any, tokenizer: Any) -> Any:
    """An nnsight model over the weights of `hf`."""
    return nnsight_library().TransformersModel(
        _same_weights(hf), task="text-generation", tokenizer=copy.deepcopy(tokenizer)
    )


def nnsight_library() -> Any:
    """nnsight, imported.

    It adds a method `.save` to every Python object when it is imported; that is taken back (unless
    you had imported it yourself), so write `nnsight.save(x)` inside a trace. It uses
    `sys.settrace`: it and a coverage tool or debugger exclude each other.
    """
    yours = "nnsight" in sys.modules
    import nnsight
    from nnsight._c import unmount

    if not yours and unmount is not None:
        unmount("save")
    return nnsight


def _same_weights(hf: Any) -> Any:
    tensors = [*hf.parameters(), *hf.buffers()]
    return copy.deepcopy(hf, {id(t): t for t in tensors})

"""The weights that write to the residual stream, and copies of a model in which they are others.

For edits that are to live in the weights. What writes: the embeddings, and in each block the last
matrix of attention and of the MLP. A copy shares every tensor that stays as it is.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from virtuelens.errors import SteeringError
from virtuelens.models.points import Place

_LAST = frozenset({"o_proj", "out_proj", "c_proj", "dense", "dense_4h_to_h", "down_proj", "fc2"})
_FLAGS = {"hook_attn_out": "attention_bias", "hook_mlp_out": "mlp_bias"}


@dataclass(frozen=True)
class Copy:
    """A transformers model with weights of its own where they are changed."""

    hf: Any
    places: Mapping[str, Place]

    def writer(self, point: str) -> Any:
        """The matrix whose output is what `hook_attn_out` or `hook_mlp_out` holds.

        Raises: SteeringError: none is found, or something follows it (a norm, experts).
        """
        place = self.places.get(point)
        found = []
        if place is not None and place.side == "out":
            module = self.hf.get_submodule(place.module)
            named = module.named_modules(prefix=place.module)
            found = [m for name, m in named
                     if name.rsplit(".", 1)[-1] in _LAST and _is_matrix(m)]
        if len(found) != 1:
            raise SteeringError(
                f"{type(self.hf).__name__} has {len(found)} matrices that write at {point}, "
                "expected 1: its weights cannot be edited this way. Steer while it runs instead."
            )
        return found[0]

    def with_bias(self, point: str) -> Any:
        """The writer with a bias, given one of zeros (and all its like) where it has none.

        Raises: SteeringError: the architecture's configuration cannot say that it has one.
        """
        writer, flag = self.writer(point), _FLAGS[point.rsplit(".", 1)[-1]]
        if writer.bias is not None:
            return writer
        config = self.hf.config
        if not hasattr(config, flag):
            raise SteeringError(
                f"{type(self.hf).__name__} has no bias where {point} is written, and its "
                f"configuration no {flag}, so an addition has no place in its weights. Steer while "
                "it runs, or export the direction."
            )
        setattr(config, flag, True)
        kind = point.rsplit(".", 1)[-1]
        for other, place in self.places.items():
            if other.rsplit(".", 1)[-1] == kind:
                for part in self.hf.get_submodule(place.module).modules():
                    if isinstance(part, nn.Linear) and part.bias is None:
                        zeros = torch.zeros(part.out_features, dtype=part.weight.dtype,
                                            device=part.weight.device)
                        part.bias = nn.Parameter(zeros, requires_grad=False)
        return writer

    def embeddings(self) -> list[nn.Embedding]:
        """All tables that begin the stream, tokens first; the unembedding is untied from them."""
        tokens = self.hf.get_input_embeddings()
        head = self.hf.get_output_embeddings()
        if head is not None and head.weight is tokens.weight:
            head.weight = nn.Parameter(tokens.weight.detach().clone(), requires_grad=False)
            self.hf.config.tie_word_embeddings = False
        width = tokens.weight.shape[1]
        others = [m for m in self.hf.modules()
                  if isinstance(m, nn.Embedding) and m is not tokens and m.weight.shape[1] == width]
        return [tokens, *others]


def editable_copy(hf: Any, places: Mapping[str, Place]) -> Copy:
    """A copy of the tree and configuration; tensors are shared until they are set."""
    memo = {id(t): t for t in (*hf.parameters(), *hf.buffers())}
    return Copy(copy.deepcopy(hf, memo), places)


def set_weight(module: nn.Module, name: str, value: Tensor) -> None:
    """Put a new tensor in place; the original's stays what it was."""
    old = getattr(module, name)
    setattr(module, name, nn.Parameter(value.to(old.dtype), requires_grad=False))


def by_output(
    module: Any, change: Callable[[Tensor], Tensor]
) -> Float[Tensor, "rows columns"]:
    """The matrix after a change of what it writes: each `[d_out]` row that `change` is given.

    GPT-2 keeps its matrices the other way round than the rest.
    """
    weight = module.weight.detach()
    return change(weight.T).T if isinstance(module, nn.Linear) else change(weight)


def save(hf: Any, tokenizer: Any, folder: Path) -> None:
    """An ordinary Hugging Face directory: configuration, safetensors, tokenizer."""
    hf.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)


def _is_matrix(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"

"""A transformer written by hand that completes repetitions: every weight has a known purpose.

    ... A B ... A   ->   B

Two blocks of one head each, no MLP to speak of, in an ordinary GPT-2 directory:

1. The head of block 0 attends to the previous token and writes down which one it was.
2. The head of block 1 looks for the place whose previous token is the present one, and copies the
   token that stands there to where the unembedding reads.

The residual stream is a table of columns, one-hot for whoever writes to them (`Layout`):

    token     which token this is                     written by the embedding, read by both heads
    position  which place this is                     written by the embedding, read by block 0
    previous  which token stands before               written by block 0, read by block 1
    output    which token comes next                  written by block 1, read by the unembedding
    balance   minus the sum of all the others, so that a layer norm has no mean to take away

The norms' epsilon is so large that they only scale; their weights scale back. Attention is sharp
but not absolute: a head gives all but about exp(-sharpness) of its attention to its place.

Source: induction, Elhage et al. 2021 and Olsson et al. 2022, arXiv:2209.11895; models compiled for
a known truth, Lindner et al. 2023, arXiv:2301.05062.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens import storage
from virtuelens.errors import OrganismError
from virtuelens.models.fresh import word_tokenizer
from virtuelens.values.texts import Text

WORDS = (
    "ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay", "kite", "lynx", "mole",
    "newt", "owl", "pig",
)
EPSILON = 1e4
LOGIT = 10.0
"""Logit of a token that the unembedding is told about in full."""


@dataclass(frozen=True)
class Layout:
    """What lies in which columns of the residual stream: names as in the module's docstring.

    words: of the vocabulary, without the tokenizer's three special tokens.
    """

    words: tuple[str, ...]
    n_ctx: int

    @property
    def d_vocab(self) -> int:
        """Words and special tokens."""
        return len(self.words) + 3

    @property
    def d_model(self) -> int:
        """All columns."""
        return 3 * self.d_vocab + self.n_ctx + 1

    def start(self, name: str) -> int:
        """The first column of that name."""
        v = self.d_vocab
        return {"token": 0, "position": v, "previous": v + self.n_ctx,
                "output": 2 * v + self.n_ctx, "balance": 3 * v + self.n_ctx}[name]

    def subspace(self, name: str) -> Float[Tensor, "d_model rank"]:
        """Unit columns that span the part of that name: token, position, previous or output."""
        rank = self.n_ctx if name == "position" else self.d_vocab
        return torch.eye(self.d_model)[:, self.start(name) : self.start(name) + rank]


def build_induction(
    out: Path, *, words: Sequence[str] = WORDS, n_ctx: int = 32, sharpness: float = 10.0
) -> Layout:
    """Write the model into a folder that `load_model` opens, and return its layout.

    words: a token each; a text is words with spaces between them. n_ctx: longest text.
    sharpness: by how much the score of the sought place exceeds every other's.
    The first token of a text is never taken for a repetition (it has none before it).

    Raises: OrganismError: `out` holds something already, fewer than two words, or one twice.
    DiskError.
    """
    if out.is_dir() and any(out.iterdir()):
        raise OrganismError(f"{out} is not empty: choose another folder.")
    if len(set(words)) != len(words) or len(words) < 2:
        raise OrganismError("An induction model needs two or more words, each of them once.")
    layout = Layout(tuple(words), n_ctx)
    about = {"organism": "induction", "layout": {"words": list(words), "n_ctx": n_ctx}}
    with storage.whole_directory(out) as part:
        storage.write_json(part / "config.json", _config(layout) | {"virtuelens": about})
        storage.write_tensors(part / "model.safetensors", _weights(layout, sharpness), about)
        word_tokenizer(words).save_pretrained(part)
    return layout


def _config(layout: Layout) -> dict[str, object]:
    return {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "dtype": "float32",
        "vocab_size": layout.d_vocab, "n_positions": layout.n_ctx, "n_embd": layout.d_model,
        "n_layer": 2, "n_head": 1, "n_inner": 1, "activation_function": "relu",
        "layer_norm_epsilon": EPSILON, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
        "tie_word_embeddings": False, "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0,
    }  # fmt: skip


def _weights(layout: Layout, sharpness: float) -> dict[str, Tensor]:
    d, v = layout.d_model, layout.d_vocab
    token, position = layout.subspace("token"), layout.subspace("position")
    weights = {
        "transformer.wte.weight": _balanced(token.T),
        "transformer.wpe.weight": _balanced(position.T),
        "lm_head.weight": LOGIT * layout.subspace("output").T,
    }
    for norm in ("h.0.ln_1", "h.0.ln_2", "h.1.ln_1", "h.1.ln_2", "ln_f"):
        weights[f"transformer.{norm}.weight"] = torch.full((d,), EPSILON**0.5)
        weights[f"transformer.{norm}.bias"] = torch.zeros(d)
    # the query of place p is place p-1; the first place has none and attends to itself
    weights |= _block(
        0, layout, query=_at_left(position[:, 1:]), key=_at_left(position), constant=torch.zeros(d),
        writes="previous", scale=3 * sharpness,
    )
    # the first place has its own token for previous one: one more head dimension keeps it away
    key = _at_left(layout.subspace("previous"))
    key[:, v] = -position[:, 0]
    return weights | _block(
        1, layout, query=_at_left(token), key=key, constant=2 * torch.eye(d)[v],
        writes="output", scale=sharpness,
    )


def _block(
    number: int, layout: Layout, *, query: Tensor, key: Tensor, constant: Tensor, writes: str,
    scale: float,
) -> dict[str, Tensor]:
    """A head that copies the token where it attends into the columns `writes`; an MLP of zeros.

    query, key: `[d_model d_head]`. constant: added to the query.
    scale: of the scores; attention divides them by the root of d_head.
    """
    d, root = layout.d_model, layout.d_model**0.5
    value = _at_left(layout.subspace("token"))
    written = _at_left(_balanced(layout.subspace(writes).T).T).T  # [d_head d_model]
    bias = torch.cat([scale * root * constant, torch.zeros(2 * d)])
    name = f"transformer.h.{number}"
    return {
        f"{name}.attn.c_attn.weight": torch.cat([scale * root * query, key, value], dim=1),
        f"{name}.attn.c_attn.bias": bias,
        f"{name}.attn.c_proj.weight": written,
        f"{name}.attn.c_proj.bias": torch.zeros(d),
        f"{name}.mlp.c_fc.weight": torch.zeros(d, 1), f"{name}.mlp.c_fc.bias": torch.zeros(1),
        f"{name}.mlp.c_proj.weight": torch.zeros(1, d), f"{name}.mlp.c_proj.bias": torch.zeros(d),
    }  # fmt: skip


def _at_left(columns: Float[Tensor, "d_model n"]) -> Float[Tensor, "d_model d_model"]:
    """The columns as the first ones of a square matrix, zeros after them."""
    return torch.nn.functional.pad(columns, (0, len(columns) - columns.shape[1]))


def _balanced(rows: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_model"]:
    """The rows with minus their sum in the last column."""
    rows = rows.clone()
    rows[:, -1] = -rows[:, :-1].sum(dim=1)
    return rows


Changed = Literal["value", "query", "key"]


@dataclass(frozen=True)
class Repetition:
    """Two texts that differ in one thing, and the cells that carry it.

    same: another source for `base`, which differs from it in what does not matter.
    answers: what follows in `source` and in `base`.
    cells: block at whose end, and token counted from the last, which is -1.
    """

    base: Text
    source: Text
    same: Text
    answers: tuple[str, str]
    cells: frozenset[tuple[int, int]]


def draw_repetition(
    rng: Random, changed: Changed, *, words: Sequence[str] = WORDS
) -> Repetition:
    """`x A B y C D z A`, and what it becomes when one thing is changed.

    value: another word stands after A. query: the text ends in C. key: A and C change places where
    they first stand. In `same` the words x, y and z are others.

    Raises: OrganismError: fewer than 11 words.
    """
    if len(words) < 11:
        raise OrganismError(f"{len(words)} words: 11 are needed to draw a text and its changes.")
    a, b, c, d, x, y, z, other, *rest = rng.sample(list(words), 11)
    base = [x, a, b, y, c, d, z, a]
    source, answer, cells = {
        "value": ([x, a, other, y, c, d, z, a], other, {(0, -6), (1, -1)}),
        "query": ([x, a, b, y, c, d, z, c], d, {(0, -1), (1, -1)}),
        "key": ([x, c, b, y, a, d, z, a], d, {(0, -6), (0, -3), (1, -1)}),
    }[changed]
    u, v, w = rest
    return Repetition(
        _text(base), _text(source), _text([u, a, b, v, c, d, w, a]), (answer, b), frozenset(cells)
    )


def _text(words: Sequence[str]) -> Text:
    return Text(raw=" ".join(words))

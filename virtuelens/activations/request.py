"""What a harvest is asked for: texts, hook points, positions; made plain before any work starts.

Here is said everything that can be wrong with it: a text that is too long, a chat without the
place that is to be read, an unknown hook point or position.
"""

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Int, Integer

from virtuelens.activations.activations import INDEX_COLUMNS
from virtuelens.activations.positions import POSITIONS, Position
from virtuelens.concepts.pack import Concept
from virtuelens.errors import (
    HookPointError,
    PackError,
    PositionError,
    TextError,
    TextTooLongError,
)
from virtuelens.storage import sha256_lines
from virtuelens.values.texts import Example, Message, Text

if TYPE_CHECKING:
    from virtuelens.models import Encoded, HookedModel

KINDS = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
"""Short for that point in every layer."""


@dataclass(frozen=True)
class Tokens:
    """The tokens of many texts, end to end, in two bytes each where the vocabulary allows it.

    ends: of each text in `ids`. n_prompt: tokens before its response.
    """

    ids: Integer[np.ndarray, " n_tokens"]
    ends: Int[np.ndarray, " n_texts"]
    n_prompt: Int[np.ndarray, " n_texts"]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text."""
        lengths: list[int] = np.diff(self.ends, prepend=0).tolist()
        return lengths

    def of(self, text: int) -> Integer[np.ndarray, " n"]:
        """The tokens of one text."""
        start = int(self.ends[text - 1]) if text else 0
        return self.ids[start : int(self.ends[text])]

    def encoded(self, text: int, start: int = 0, end: int | None = None) -> "Encoded":
        """One text, or some of its tokens, as a model takes it."""
        from virtuelens.models import Encoded

        return Encoded(tuple(self.of(text)[start:end].tolist()), int(self.n_prompt[text]), ())


@dataclass(frozen=True)
class Request:
    """Encoded texts and which of their tokens to read.

    given: as they came. A text alone becomes an example (240 bytes) only while it is looked at.
    picks: position -> for every text the indices of its tokens, the same object for texts of the
        same lengths.
    texts: what the manifest says about them; a store of other texts has another hash.
    """

    given: tuple[Example | Text, ...]
    tokens: Tokens
    points: tuple[str, ...]
    picks: Mapping[str, Sequence[Sequence[int]]]
    texts: Mapping[str, str]

    @property
    def concept(self) -> str:
        """Name of the concept, or ""."""
        return self.texts.get("name", "")

    def example(self, text: int) -> Example:
        """The text with its id, label and group."""
        return _example(text, self.given[text])

    def n_rows(self, position: str, text: int) -> int:
        """How many rows of activations a text has at a position."""
        return 1 if POSITIONS[position].pooled else len(self.picks[position][text])

    def index(self) -> pd.DataFrame:
        """The index of the rows, as `Activations` has it."""
        columns = ("id", "pair", "group", "label", "split")
        own = {name: [getattr(self.example(i), name) for i in range(len(self.given))]
               for name in columns}
        own["example_id"] = own.pop("id")
        tables = []
        for position in self.picks:
            sizes = np.array([self.n_rows(position, i) for i in range(len(self.given))])
            ends = np.cumsum(sizes)
            tables.append(pd.DataFrame({
                **own, "position": position,
                "start": ends - sizes, "end": ends, "n_tokens": self.tokens.lengths,
                "n_prompt": self.tokens.n_prompt,
            })[list(INDEX_COLUMNS)])
        return pd.concat(tables, ignore_index=True)


def make_request(
    model: "HookedModel",
    what: Concept | Sequence[Example] | Sequence[Text],
    *,
    points: str | Sequence[str],
    positions: str | Sequence[str],
) -> Request:
    """The request in full.

    Raises: TextTooLongError, TextError, PositionError: naming the example. HookPointError.
    PackError: the model has a language of its own and the pack is given in another.
    """
    _check_dialect(model, what)
    wanted = _points(model, [points] if isinstance(points, str) else points)
    rows = _positions([positions] if isinstance(positions, str) else positions)
    given, texts = _given(what)
    if not given:
        raise TextError("There are no texts to harvest: give at least one.")
    small = model.info.d_vocab <= 1 << 16
    ids, ends, n_prompt = array("H" if small else "i"), array("q"), array("q")
    picks: dict[str, list[Sequence[int]]] = {row.name: [] for row in rows}
    known: dict[tuple[str, int, int], Sequence[int]] = {}
    each = model.encode_each([g if isinstance(g, Text) else g.text for g in given], words=False)
    for i, one in enumerate(given):
        example = _example(i, one)
        encoded = _next(each, example)
        ids.extend(encoded.ids)
        ends.append(len(ids))
        n_prompt.append(encoded.prompt_length)
        for row in rows:
            lengths = row.name, encoded.prompt_length, len(encoded.ids)
            picks[row.name].append(known.setdefault(lengths, _pick(row, example, encoded)))
    tokens = Tokens(*(np.array(a, dtype=t) for a, t in (
        (ids, np.uint16 if small else np.int32), (ends, np.int64), (n_prompt, np.int64))))
    return Request(given, tokens, wanted, picks, texts)


def _check_dialect(model: "HookedModel", what: object) -> None:
    """An organism would read another language's words as unknown ones, without a word of it."""
    own = model.info.dialect
    if isinstance(what, Concept) and own not in {"english", what.dialect}:
        raise PackError(
            f"{model.info.name} speaks {own!r} and the pack {what.name} is given in "
            f"{what.dialect!r}: load it with load_concept({what.name!r}, dialect={own!r})."
        )


def _points(model: "HookedModel", asked: Sequence[str]) -> tuple[str, ...]:
    known = model.hook_points()
    out: list[str] = []
    for name in asked:
        every = [p for p in known if p.endswith(f".hook_{name}")] if name in KINDS else []
        if not every and name not in known:
            kinds = dict.fromkeys(p.rsplit(".hook_", 1)[-1] for p in known if "." in p)
            raise HookPointError(
                f"Hook point {name!r} is not in {model.info.name}: it has {', '.join(kinds)} "
                f"in layers 0-{model.info.n_layers - 1}, written in full like "
                "'blocks.0.hook_resid_post' or in short, for every layer, like 'resid_post'. "
                f"List them with: virtuelens model {model.info.name} --hooks"
            )
        out += every or [name]
    if not out:
        raise HookPointError("No hook point was asked for: name at least one, like 'resid_post'.")
    return tuple(dict.fromkeys(out))


def _positions(asked: Sequence[str]) -> list[Position]:
    for name in asked:
        if name not in POSITIONS:
            raise PositionError(
                f"Unknown position {name!r}: choose from {', '.join(POSITIONS)}."
            )
    if not asked:
        raise PositionError(f"No position was asked for: choose from {', '.join(POSITIONS)}.")
    return [POSITIONS[name] for name in dict.fromkeys(asked)]


def _given(
    what: Concept | Sequence[Example] | Sequence[Text],
) -> tuple[tuple[Example | Text, ...], dict[str, str]]:
    if isinstance(what, Concept):
        about = {"kind": "concept", "name": what.name, "version": what.version,
                 "dialect": what.dialect, "hash": what.hash}  # fmt: skip
        return what.examples, about
    given: tuple[Example | Text, ...] = tuple(what)
    examples = (_example(i, one) for i, one in enumerate(given))
    lines = (json.dumps(e, sort_keys=True, default=_plain) for e in examples)
    alone = any(isinstance(g, Text) or g.label < 0 for g in given)
    return given, {"kind": "texts" if alone else "examples", "hash": sha256_lines(lines)}


def _example(number: int, one: Example | Text) -> Example:
    if isinstance(one, Example):
        return one
    return Example(f"text-{number:06d}", one, label=-1, group="", pair="")


def _plain(value: Any) -> dict[str, Any]:
    """An example and what it holds, as `dataclasses.asdict` has them (which is far slower)."""
    if isinstance(value, Example | Text | Message):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    return dict(value)


def _next(each: Iterator["Encoded"], example: Example) -> "Encoded":
    try:
        return next(each)
    except (TextTooLongError, TextError) as error:
        raise type(error)(f"Example {example.id!r}: {error}") from error


def _pick(row: Position, example: Example, encoded: "Encoded") -> Sequence[int]:
    try:
        if row.own_words and example.text.raw is None and encoded.prompt_length == len(encoded.ids):
            raise PositionError(
                f"The chat has no response, so its last token is the template's and {row.name!r} "
                "has nothing to read: end it with an assistant's turn, or read last_prompt."
            )
        return row.pick(encoded)
    except PositionError as error:
        raise PositionError(f"Example {example.id!r}: {error}") from error


def about_request(request: Request, *, dtype: str) -> dict[str, Any]:
    """What the manifest says of it."""
    return {
        "texts": dict(request.texts), "points": list(request.points),
        "positions": list(request.picks), "dtype": dtype,
    }  # fmt: skip

"""From a recipe to a trained and evaluated SAE: texts, store, training, evaluation.

The store is kept beside the SAE until that is whole: an interrupted run goes on from its shards.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

from virtuelens.activations.harvest import harvest
from virtuelens.activations.store import open_store
from virtuelens.errors import SaeError
from virtuelens.models import HookedModel, load_model
from virtuelens.organisms.language import messages
from virtuelens.organisms.languages import LANGUAGES
from virtuelens.organisms.recipe import load_recipe as load_organism
from virtuelens.sparse_coding.evaluate import Evaluation, evaluate, write_evaluation
from virtuelens.sparse_coding.load import load_sae
from virtuelens.sparse_coding.recipes import Data, Recipe
from virtuelens.sparse_coding.train import check_replaceable, train_sae
from virtuelens.values.texts import Message, Text

Progress = Callable[[str, int, int], None]
Texts = tuple[list[Text], list[Text]]
"""Texts to train on, and others to evaluate on."""


def make_sae(
    recipe: Recipe,
    out: Path,
    *,
    model: str | HookedModel | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Evaluation:
    """Train the SAE of a recipe into `out` and evaluate it on texts that training did not see.

    model: in place of the recipe's own (a loaded one, or another name of the same weights).
    progress: called with a stage and how much of it is done.

    Raises: SaeError: `out` is something else, unknown text source, or training fails. Errors of
        loading and harvesting pass through.
    """
    check_replaceable(out)
    source = model or recipe.model
    loaded = load_model(source) if isinstance(source, str) else source
    training, held_out = read_texts(recipe.data)
    kept = out.with_name(f"{out.name}.store")
    harvest(
        loaded, training, points=recipe.point, positions="tokens", out=kept,
        progress=lambda done, total: progress("harvest", done, total),
    )
    train_sae(
        open_store(kept), recipe, out=out, device=loaded.info.device,
        progress=lambda done, total, _: progress("train", done, total),
    )
    made = replace(load_sae(out, device=loaded.info.device), name=recipe.name)
    evaluation = evaluate(
        loaded, made, held_out,
        progress=lambda done, total: progress("evaluate", done, total),
    )
    write_evaluation(evaluation, out)
    shutil.rmtree(kept, ignore_errors=True)
    return evaluation


def read_texts(data: Data) -> Texts:
    """The texts that a recipe names; no text is in both lists.

    Raises: SaeError: unknown source, or it has too few different texts.
    """
    if data.source not in TEXT_SOURCES:
        raise SaeError(
            f"Unknown data.source {data.source!r}: choose from {', '.join(TEXT_SOURCES)}."
        )
    found = TEXT_SOURCES[data.source](data)
    wanted = data.texts + data.held_out
    if len(found) < wanted:
        raise SaeError(
            f"{data.name} has {len(found)} different texts, {wanted} are asked for: lower "
            "data.texts or data.held_out."
        )
    return found[: data.texts], found[data.texts : wanted]


def _organism_texts(data: Data) -> list[Text]:
    """Turns in an organism's language with its own answers, as its training drew them."""
    recipe = load_organism(data.name)
    language, rng = LANGUAGES[recipe.dialect], Random(f"sae {data.seed}")
    wanted = data.texts + data.held_out
    found: dict[tuple[Message, ...], Text] = {}
    for _ in range(20 * wanted):
        if len(found) == wanted:
            break
        turn = language.draw(rng, rng.choice(language.mix))
        said = language.answer(turn, recipe.teller, rng)
        chat = (*messages(turn), Message("assistant", said))
        found.setdefault(chat, Text(messages=chat))
    return list(found.values())


def _file_texts(data: Data) -> list[Text]:
    """The `text` (or first string) of each line of a JSON-lines file, repeated ones once."""
    path = Path(data.name)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise SaeError(
            f"Could not read {path} ({error.strerror}): give a JSON-lines file."
        ) from error
    found: dict[str, Text] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            text = json.loads(line)["text"]
        except (json.JSONDecodeError, KeyError, TypeError):
            text = None
        if not isinstance(text, str):
            raise SaeError(f'{path}:{number}: expected an object with "text": a string.')
        found.setdefault(text, Text(raw=text))
    order = list(found.values())
    Random(data.seed).shuffle(order)
    return order


TEXT_SOURCES: dict[str, Callable[[Data], list[Text]]] = {
    "organism": _organism_texts,
    "file": _file_texts,
}
"""Where training texts come from: `data.name` is an organism, or a JSON-lines file."""

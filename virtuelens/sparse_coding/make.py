"""From a recipe to trained and evaluated SAEs: texts, store, training, evaluation.

The store is kept beside the SAE until that is evaluated: an interrupted run goes on from its
shards, from the last minute of its training (`checkpoint`), or with the evaluation. Several seeds
share one store.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from random import Random

from pydantic import TypeAdapter, ValidationError

from virtuelens import storage
from virtuelens.activations.harvest import harvest
from virtuelens.activations.store import open_store
from virtuelens.errors import SaeError
from virtuelens.models import HookedModel, load_model
from virtuelens.organisms.language import messages
from virtuelens.organisms.languages import LANGUAGES
from virtuelens.organisms.recipe import load_recipe as load_organism
from virtuelens.sparse_coding.checkpoint import plain
from virtuelens.sparse_coding.evaluate import EVALUATION, Evaluation, evaluate, write_evaluation
from virtuelens.sparse_coding.load import CONFIG, load_sae
from virtuelens.sparse_coding.recipes import Data, Recipe
from virtuelens.sparse_coding.sae import Sae
from virtuelens.sparse_coding.stability import (
    Stability,
    compare_seeds,
    live_features,
    write_stability,
)
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
    loaded, (training, held_out) = _loaded(recipe, model), read_texts(recipe.data)
    kept = out.with_name(f"{out.name}.store")
    _harvested(loaded, training, recipe, kept, progress)
    evaluation = _trained(loaded, held_out, recipe, out, kept=kept, progress=progress)
    shutil.rmtree(kept, ignore_errors=True)
    return evaluation


def make_saes(
    recipe: Recipe,
    out: Path,
    *,
    seeds: Sequence[int],
    model: str | HookedModel | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Stability:
    """Train the recipe with each seed into `out/seed-N`, and say how alike the SAEs are.

    Data and order of the texts stay as they are: seeds decide the initial weights and the order of
    batches. SAEs that are whole already are kept. Beside them stand `stability.json` and
    `stability.parquet`.

    Raises: SaeError: fewer than two different seeds, an SAE of another recipe in a place, or as
        `make_sae`.
    """
    if len(set(seeds)) < 2 or len(set(seeds)) != len(seeds):
        raise SaeError(f"Seeds are {list(seeds)}: give at least two, each once.")
    out = Path(out)
    if out.is_file() or (out / CONFIG).is_file():
        raise SaeError(f"{out} is one SAE or a file: choose a folder for those of several seeds.")
    loaded, (training, held_out) = _loaded(recipe, model), read_texts(recipe.data)
    of_seed = {
        out / f"seed-{seed}": replace(recipe, training=replace(recipe.training, seed=seed))
        for seed in seeds
    }
    missing = [p for p, r in of_seed.items() if not _is_made(p, r, loaded.info.fingerprint)]
    kept = out / "store"
    if missing:
        out.mkdir(parents=True, exist_ok=True)
        _harvested(loaded, training, recipe, kept, progress)
    for path in missing:
        tell = _prefixed(progress, path.name)
        _trained(loaded, held_out, of_seed[path], path, kept=kept, progress=tell)
    shutil.rmtree(kept, ignore_errors=True)
    saes = {seed: load_sae(out / f"seed-{seed}", device=loaded.info.device) for seed in seeds}
    live = {seed: live_features(loaded, sae, held_out) for seed, sae in saes.items()}
    found = compare_seeds(saes, live)
    write_stability(found, out)
    return found


def _loaded(recipe: Recipe, model: str | HookedModel | None) -> HookedModel:
    source = model or recipe.model
    return load_model(source) if isinstance(source, str) else source


def _harvested(
    model: HookedModel, texts: list[Text], recipe: Recipe, kept: Path, progress: Progress
) -> None:
    harvest(
        model, texts, points=recipe.point, positions="tokens", out=kept,
        progress=lambda done, total: progress("harvest", done, total),
    )


def _trained(
    model: HookedModel, held_out: list[Text], recipe: Recipe, out: Path, *, kept: Path,
    progress: Progress,
) -> Evaluation:
    # an SAE that was evaluated is replaced; one that was not was interrupted there
    if (out / EVALUATION).is_file() or not _is_trained(out, recipe, model.info.fingerprint):
        train_sae(
            open_store(kept), recipe, out=out, device=model.info.device,
            progress=lambda done, total, _: progress("train", done, total),
        )
    made = replace(load_sae(out, device=model.info.device), name=recipe.name)
    evaluation = evaluate(
        model, made, held_out, progress=lambda done, total: progress("evaluate", done, total)
    )
    write_evaluation(evaluation, out)
    return evaluation


def _is_made(path: Path, recipe: Recipe, fingerprint: str) -> bool:
    """Whether this very SAE is there, evaluated.

    Raises: SaeError: another SAE is there.
    """
    check_replaceable(path)
    if not (path / CONFIG).is_file():
        return False
    if not _is_trained(path, recipe, fingerprint):
        raise SaeError(
            f"{path} holds an SAE of another recipe or model: choose another --out, or delete it."
        )
    return (path / EVALUATION).is_file()


def _is_trained(path: Path, recipe: Recipe, fingerprint: str) -> bool:
    """Whether an SAE of this recipe and these weights is there."""
    if not (path / CONFIG).is_file():
        return False
    made = (storage.read_json(path / CONFIG).get("metadata") or {}).get("virtuelens") or {}
    same = plain(made.get("recipe")) == plain(asdict(recipe))
    return same and made.get("fingerprint") == fingerprint


def _prefixed(progress: Progress, name: str) -> Progress:
    return lambda stage, done, total: progress(f"{name}: {stage}", done, total)


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


def card_texts(sae: Sae, file: str | None, n: int) -> list[Text]:
    """Texts to read features on: of a JSON-lines file, or those that the SAE's recipe held out.

    Raises: SaeError: the SAE has no recipe of ours and no file is given, or as `read_texts`.
    """
    if file is not None:
        return _file_texts(Data("file", file, texts=n))[:n]
    ours = sae.module.cfg.metadata.get("virtuelens") or {}
    if "recipe" not in ours:
        raise SaeError(
            f"{sae.name} was not made by a recipe of virtuelens, so that nothing is known of its "
            "texts: give some with --texts FILE.jsonl."
        )
    try:
        data = TypeAdapter(Data).validate_python(ours["recipe"]["data"])
    except (ValidationError, KeyError, TypeError) as error:
        raise SaeError(
            f"The recipe in {CONFIG} of {sae.name} does not say what its texts were: give some "
            "with --texts FILE.jsonl."
        ) from error
    return read_texts(data)[1][:n]


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
    """The `text` of each line of a JSON-lines file, repeated ones once."""
    path = Path(data.name)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise SaeError(f"{path} is not UTF-8 text: give a JSON-lines file.") from error
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
        except (ValueError, RecursionError, KeyError, TypeError):
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

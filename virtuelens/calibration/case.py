"""A subject made ready: model, contrast pairs, activations, each made once and only when needed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np
from jaxtyping import Float
from torch import Tensor

from virtuelens import catalog, storage
from virtuelens.activations.harvest import harvest
from virtuelens.audits.config import AuditConfig
from virtuelens.calibration.subjects import Subject
from virtuelens.concepts.pack import Concept, load_concept
from virtuelens.models import HookedModel, load_model
from virtuelens.organisms.drawing.contrast import draw_contrast
from virtuelens.organisms.drawing.packs import CONTRASTS
from virtuelens.organisms.language import Language, messages
from virtuelens.organisms.languages import LANGUAGES
from virtuelens.probing.data import Examples
from virtuelens.probing.probes import examples_of
from virtuelens.values.texts import Text

N_OPPOSED = 240
"""Pairs of turns that differ in one composing word alone, for interchange and attribution."""


@dataclass(frozen=True)
class Opposed:
    """Turns with the variable false (`base`) and true (`source`), and what the first teller says.

    same: turns with the variable false and another word.
    answers: what it says of the source, and of the base.
    swapped: what it says of the base where the variable alone is the source's.
    groups: the first composing word, so that what is fitted on some is tested on others.
    """

    base: tuple[Text, ...]
    source: tuple[Text, ...]
    same: tuple[Text, ...]
    answers: tuple[tuple[str, str], ...]
    swapped: tuple[str, ...]
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """One subject; `folder` takes what instruments write."""

    subject: Subject
    folder: Path
    config: AuditConfig

    @cached_property
    def model(self) -> HookedModel:
        """The organism, or its architecture with random weights."""
        model = load_model(str(self.subject.folder))
        if self.subject.control == "random weights":
            return model.random_copy(1000 + self.subject.seed)
        return model

    @property
    def language(self) -> Language:
        """The language it speaks."""
        return LANGUAGES[self.subject.recipe.dialect]

    @cached_property
    def planted(self) -> Float[Tensor, "d_model rank"]:
        """The planted subspace."""
        tensors, _ = storage.read_tensors(self.subject.folder / "planted.safetensors")
        return tensors["subspace"]

    @cached_property
    def pack(self) -> str:
        """The pack's name, or the folder of its agreeing variant."""
        concept = self.subject.concept
        if self.subject.control != "agreeing only":
            return concept
        home = catalog.find("probes", concept, "concept.toml")
        (made,) = [m for m in CONTRASTS
                   if (m.concept, m.language.name) == (concept, self.language.name)]
        assert home is not None
        packs = self.folder / "pack"
        draw_contrast(packs, made, agreeing=True)
        table = (home / "concept.toml").read_text(encoding="utf-8")
        storage.write_text(packs / concept / "concept.toml", _only(table, self.language.name))
        return str(packs / concept)

    @cached_property
    def concept(self) -> Concept:
        """The pack, with sides swapped at random where labels are drawn."""
        concept = load_concept(self.pack, dialect=self.language.name)
        if self.subject.control != "labels drawn":
            return concept
        rng = Random(f"labels {self.subject.name}")
        swapped: Mapping[str, bool] = {
            p: rng.random() < 0.5 for p in sorted({e.pair for e in concept.examples})
        }
        return replace(concept, examples=tuple(
            replace(e, label=1 - e.label) if swapped[e.pair] else e for e in concept.examples
        ))

    @cached_property
    def examples(self) -> Examples:
        """Activations of the main set at every block and position of the pack."""
        acts = harvest(self.model, self.concept.in_split("main"), points="resid_post",
                       positions=self.concept.positions)
        return examples_of(acts)

    @cached_property
    def opposed(self) -> Opposed:
        """Turns whose answer the variable decides in the first teller."""
        rng, language = Random(f"opposed {self.subject.seed}"), self.language
        heeds = language.tellers[0]
        turns, groups = [], []
        for _ in range(N_OPPOSED):
            rest, (off, on) = rng.random(), language.variable.sides(rng)
            kind = next(k for k in language.variable.second if off[1] in k)
            same = off[0], rng.choice([w for w in kind if w != off[1]])
            turns.append([language.opposed(Random(rest), pair) for pair in (off, on, same)])
            groups.append(off[0])
        said = [[language.answer(t, heeds, rng) for t in three[:2]] for three in turns]
        base, source, same_value = (
            tuple(Text(messages=messages(three[i])) for three in turns) for i in range(3)
        )
        answers = tuple((on, off) for off, on in said)
        swapped = tuple(
            language.answer(language.swapped(off, on), heeds, rng) for off, on, _ in turns
        )
        return Opposed(base, source, same_value, answers, swapped, tuple(groups))


def norm_share(direction: Float[np.ndarray, " d_model"], subspace: Float[Tensor, "d r"]) -> float:
    """Share of a direction's squared length that lies in a subspace; rank / d_model by chance."""
    inside = direction @ subspace.double().numpy()
    return float((inside**2).sum() / (direction**2).sum())


def _only(table: str, dialect: str) -> str:
    """concept.toml with one dialect, because only its files are drawn."""
    head, *rest = table.split("\n[dialects.")
    kept = [part for part in rest if part.split("]")[0].split(".")[0] == dialect]
    return "\n[dialects.".join([head, *kept])

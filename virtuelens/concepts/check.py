"""What in a pack could be read without understanding it: counts, repeats, words, length, endings.

A row that does not pass is something to look at, not a broken format: a pack may have its reasons,
which then belong into its `confounds`. Classifiers are fitted on some groups of the main set and
score others, so they measure what a probe could take over from the surface.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from virtuelens.concepts.pack import Concept
from virtuelens.concepts.splits import group_folds
from virtuelens.concepts.surface import (
    Score,
    bag_of_words,
    ending,
    last_word,
    length,
    named_last,
    near_same,
    normalised,
    words_by_turn,
)
from virtuelens.errors import ProbeError
from virtuelens.values.estimates import Estimate
from virtuelens.values.texts import Example, Split

Array = np.ndarray

SURFACE_AUROC = 0.6
"""Above this a surface classifier is flagged: little room is left for a probe to beat it."""
ORDER, MIN_ORDERED = (0.35, 0.65), 20
"""Share of answers named last that is no cue, and from how many texts it is judged."""
MIN_PAIRS, MIN_GROUPS, MIN_HELD_OUT, MIN_ITEMS = 200, 10, 40, 40

_OTHERS: tuple[Split, ...] = ("shifted", "transfer")
_ALL: tuple[Split, ...] = ("main", *_OTHERS)


@dataclass(frozen=True)
class CheckRow:
    """One property of a pack.

    limit: what it should keep to, in words ("" where it is only reported).
    interval: 95 % interval of an AUROC, over groups.
    """

    name: str
    value: float
    limit: str
    passed: bool
    advice: str
    interval: tuple[float, float] | None = None


def check_concept(concept: Concept) -> list[CheckRow]:
    """All properties of a pack that can be measured without a model."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # sklearn has it

    with threadpool_limits(1):  # small matrices: on busy cores BLAS threads only wait
        return _all(concept)


def _all(concept: Concept) -> list[CheckRow]:
    return [
        *_counts(concept),
        *_repeats(concept),
        *_surface(concept, "words", bag_of_words, "Use every content word on both sides."),
        *_surface(concept, "words by turn", words_by_turn, "Let each speaker say every word on "
                  "both sides."),
        *_surface(concept, "last word", last_word, "End both sides in the same word, or do not "
                  "read at `last`."),
        *_surface(concept, "length", length, "Make the two sides equally long."),
        *_lengths(concept),
        *_order(concept),
    ]  # fmt: skip


def _counts(concept: Concept) -> Iterator[CheckRow]:
    main = concept.in_split("main")
    yield _pairs(main, "main", MIN_PAIRS)
    labels: dict[str, set[int]] = {}
    for e in main:
        labels.setdefault(e.group, set()).add(e.label)
    yield _at_least("groups in main", len(labels), MIN_GROUPS)
    mixed = sum(len(found) == 2 for found in labels.values())
    yield _at_least("groups in main with both labels", mixed, 2,
                    "a probe that knows the group knows the label")
    for split in _OTHERS:
        what = "no evidence beyond the main format without it" if split == "shifted" else (
            "rung 3 needs a set from elsewhere"
        )
        yield _pairs(concept.in_split(split), split, MIN_HELD_OUT, what)
    for b in concept.behaviours:
        yield _at_least(f"items in {b.name} ({b.kind})", len(b.items), MIN_ITEMS)
    if not any(b.kind == "target" for b in concept.behaviours):
        yield _at_least("target behaviours", 0, 1, "rung 4 cannot be tested without one")
    for split in _ALL:
        examples = concept.in_split(split)
        if examples:
            share = float(np.mean([e.label for e in examples]))
            yield CheckRow(
                f"share of label 1 in {split}", round(share, 3), "0.4 to 0.6", 0.4 <= share <= 0.6,
                "" if 0.4 <= share <= 0.6 else "Balance the classes.",
            )


def _repeats(concept: Concept) -> Iterator[CheckRow]:
    examples = concept.examples
    by_text: dict[str, list[Example]] = {}
    for e in examples:
        by_text.setdefault(normalised(e.text), []).append(e)
    same = [es for es in by_text.values() if len(es) > 1]
    torn = [es for es in same if len({e.label for e in es}) > 1]
    yield _none("texts with both labels", len(torn), torn,
                "The same words cannot show the concept and not show it.")
    yield _none("repeated texts", sum(len(es) - 1 for es in same), same,
                "Write another text, or the same one counts twice.")
    crossing = Counter(e.group for e in {(e.group, e.split): e for e in examples}.values())
    twice = sorted(g for g, n in crossing.items() if n > 1)
    yield CheckRow(
        "groups in two splits", len(twice), "0", not twice,
        f"Give them names of their own: {', '.join(twice[:3])}." if twice else "",
    )
    near = [
        (examples[i], examples[j]) for i, j in near_same([e.text for e in examples])
        if (examples[i].group, examples[i].split) != (examples[j].group, examples[j].split)
    ]
    yield _none("nearly the same across groups or splits", len(near), near,
                "Put them into one group, or change one of them.")


def _surface(
    concept: Concept, name: str, score: Score, advice: str
) -> Iterator[CheckRow]:
    """AUROC of a surface classifier on held-out groups of main, and from main to the others."""
    from virtuelens import stats

    main = concept.in_split("main")
    try:
        pooled = _held_out_scores(main, score)
    except ProbeError:
        return  # one group only, or groups of one label: the counts say so
    yield _auroc_row(f"{name} alone, held-out groups", main, pooled, advice, stats.auroc_estimate)
    for split in _OTHERS:
        others = concept.in_split(split)
        if others:
            scores = score([e.text for e in main], _labels(main), [e.text for e in others])
            yield _auroc_row(
                f"{name} alone, main to {split}", others, scores, advice, stats.auroc_estimate
            )


def _auroc_row(
    name: str,
    examples: Sequence[Example],
    scores: Float[Array, " n"],
    advice: str,
    estimate: Callable[..., Estimate],
) -> CheckRow:
    e = estimate(scores, _labels(examples), [x.group for x in examples], n_draws=400)
    return CheckRow(
        name, round(e.value, 3), f"AUROC at most {SURFACE_AUROC}", e.value <= SURFACE_AUROC,
        advice if e.value > SURFACE_AUROC else "", (round(e.low, 3), round(e.high, 3)),
    )


def _held_out_scores(examples: Sequence[Example], score: Score) -> Float[Array, " n"]:
    """Score of each example by a classifier that saw none of its group."""
    groups = [e.group for e in examples]
    scores = np.zeros(len(examples))
    for held in group_folds(groups, 5, seed=0):
        fit = [e for e in examples if e.group not in held]
        if len({e.label for e in fit}) < 2:
            raise ProbeError("Whole groups hold one label only: nothing can be held out fairly.")
        others = [e.text for e in examples if e.group in held]
        raw = score([e.text for e in fit], _labels(fit), others)
        out = np.array([g in held for g in groups])
        scores[out] = (raw - raw.mean()) / (raw.std() or 1.0)  # folds have scales of their own
    return scores


def _lengths(concept: Concept) -> Iterator[CheckRow]:
    for split in _ALL:
        by_pair: dict[str, list[Example]] = {}
        for e in concept.in_split(split):
            by_pair.setdefault(e.pair, []).append(e)
        both = [sorted(sides, key=lambda e: e.label) for sides in by_pair.values()
                if sorted(e.label for e in sides) == [0, 1]]  # fmt: skip
        if not both:
            continue  # texts without partners
        sizes = [[len(e.text.words.split()) for e in sides] for sides in both]
        longer = float(np.mean([np.sign(one - zero) for zero, one in sizes]))
        yield CheckRow(
            f"pairs longer on the positive side, less shorter, in {split}", round(longer, 3),
            "-0.2 to 0.2", abs(longer) <= 0.2,
            "" if abs(longer) <= 0.2 else "Make the two sides equally long.",
        )
        share = float(np.mean([ending(zero.text) == ending(one.text) for zero, one in both]))
        yield CheckRow(
            f"pairs ending in the same word, in {split}", round(share, 3), "", True,
            "" if share == 1 else "Where they differ, `last` reads the word itself.",
        )


def _order(concept: Concept) -> Iterator[CheckRow]:
    """How often the positive side, or the target choice, is what the text before it named last."""
    for split in _ALL:
        by_pair: dict[str, list[Example]] = {}
        for e in concept.in_split(split):
            by_pair.setdefault(e.pair, []).append(e)
        found = [_answer_last(*sorted(sides, key=lambda e: -e.label))
                 for sides in by_pair.values() if sorted(e.label for e in sides) == [0, 1]]
        yield from _shared(f"positive answer named last, in {split}", found)
    for b in concept.behaviours:
        yield from _shared(f"target named last, in {b.name}", [
            named_last(i.prompt.words, i.choices[i.target],
                       " ".join(c for k, c in enumerate(i.choices) if k != i.target))
            for i in b.items
        ])


def _answer_last(one: Example, zero: Example) -> bool | None:
    """None where the sides differ in more than their last turn."""
    (*before, ours), (*same, theirs) = (
        [m.content for m in e.text.messages] or [e.text.words] for e in (one, zero)
    )
    return named_last("\n".join(before), ours, theirs) if before == same else None


def _shared(name: str, found: Sequence[bool | None]) -> Iterator[CheckRow]:
    """The share of True among those that are decided, where there are enough of them."""
    decided = [f for f in found if f is not None]
    if len(decided) < MIN_ORDERED:
        return
    share = float(np.mean(decided))
    passed = ORDER[0] <= share <= ORDER[1]
    yield CheckRow(
        name, round(share, 3), f"{ORDER[0]} to {ORDER[1]} ({len(decided)} name both)", passed,
        "" if passed else "Name the answer first as often as last: its place gives it away.",
    )


def _labels(examples: Sequence[Example]) -> Int[Array, " n"]:
    return np.array([e.label for e in examples])


def _pairs(examples: Sequence[Example], split: str, limit: int, why: str = "") -> CheckRow:
    """How many pairs; of texts without partners, how many texts."""
    sides = Counter(e.pair for e in examples)
    if examples and max(Counter((e.pair, e.label) for e in examples).values()) > 1:
        return _at_least(f"texts in {split}", len(examples), 2 * limit, why)  # pair: their group
    return _at_least(f"pairs in {split}", len(sides), limit, why)


def _at_least(name: str, n: int, limit: int, why: str = "") -> CheckRow:
    advice = "" if n >= limit else (f"Write more: {why}." if why else "Write more.")
    return CheckRow(name, n, f"at least {limit}", n >= limit, advice)


def _none(
    name: str, n: int, found: Sequence[Sequence[Example]], advice: str
) -> CheckRow:
    where = "; ".join(" = ".join(e.id for e in es[:3]) for es in found[:3])
    return CheckRow(name, n, "0", n == 0, f"{advice} First: {where}." if n else "")

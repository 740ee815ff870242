"""What probes, interchange, attribution and alignment say of a circuit written by hand."""

from pathlib import Path
from random import Random

import pytest
import torch

import virtuelens as vl
from virtuelens import stats
from virtuelens.attribution.exact import exact
from virtuelens.organisms.compiled import (
    WORDS,
    Layout,
    Repetition,
    build_induction,
    draw_repetition,
)
from virtuelens.values.texts import Example

BLOCK_0, BLOCK_1 = "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"
KINDS = ("value", "query", "key")
N = 80
Built = tuple[vl.HookedModel, Layout]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The model and what lies in its columns."""
    folder: Path = tmp_path_factory.mktemp("known") / "model"
    layout = build_induction(folder)
    return vl.load_model(str(folder)), layout


def drawn(kind: str) -> list[Repetition]:
    """Pairs that differ in one thing."""
    return [draw_repetition(Random(f"{kind} {i}"), kind) for i in range(N)]


def ids_of(model: vl.HookedModel, words: list[str]) -> list[int]:
    """Their tokens."""
    ids = model.tokenizer.get_vocab()
    return [ids[w] for w in words]


def texts(pairs: list[Repetition]) -> tuple[list[vl.Text], list[vl.Text], list[tuple[str, str]]]:
    """Bases, sources, answers."""
    return [p.base for p in pairs], [p.source for p in pairs], [p.answers for p in pairs]


@pytest.fixture(scope="module")
def previous() -> list[Example]:
    """Is the word before the last one *bee*? Yes and no by turns, with the same last word."""
    rng, others = Random(0), [w for w in WORDS if w != "bee"]
    examples = []
    for i in range(240):
        last = others[i // 2 % len(others)]
        rest = [w for w in others if w != last]
        words = [*rng.sample(rest, 3), rng.choice(rest) if i % 2 else "bee", last]
        examples.append(Example(str(i), vl.Text(raw=" ".join(words)), 1 - i % 2, last, str(i // 2)))
    return examples


def test_the_previous_word_is_decodable_after_block_0(
    built: Built, previous: list[Example]
) -> None:
    """A linear probe fitted on some last words, judged on others."""
    acts = vl.harvest(built[0], previous, points=[BLOCK_0], positions="last")
    probe, test = vl.fit_probe(acts.train, method="logistic"), acts.test
    scores = probe.score(test.point(BLOCK_0)).numpy()
    assert stats.auroc(scores, test.index["label"].to_numpy()) == 1


def test_the_embedding_knows_nothing_of_the_previous_word(
    built: Built, previous: list[Example]
) -> None:
    """Both sides of a pair are the same there, to the bit."""
    for point in ("hook_embed", "blocks.0.hook_resid_pre"):
        acts = vl.harvest(built[0], previous, points=[point], positions="last").point(point)
        assert torch.equal(acts[0::2], acts[1::2])


@pytest.mark.parametrize("kind", ["value", "query"])
def test_the_known_columns_move_the_answer_and_nothing_else_does(built: Built, kind: str) -> None:
    """At the known token and block; not random ones there, not other tokens, not a block later."""
    model, layout = built
    base, source, answers = texts(drawn(kind))
    expected = ids_of(model, [first for first, _ in answers])
    columns, known = layout.subspace("token"), {"value": 2, "query": 7}[kind]

    def moved(point: str, space: torch.Tensor, at: int) -> float:
        return vl.interchange(model, base, source, point, space, base_at=[at] * N,
                              source_at=[at] * N).moved(expected).value

    assert moved(BLOCK_0, columns, known) == 1
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        assert moved(BLOCK_0, torch.randn(columns.shape, generator=generator), known) <= 0.02
    assert moved(BLOCK_0, layout.subspace("previous"), known) == 0
    assert all(moved(BLOCK_0, columns, at) == 0 for at in range(8) if at != known)
    assert moved(BLOCK_1, columns, known) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_attribution_names_the_known_cells_and_no_others(built: Built, kind: str) -> None:
    """Estimated and measured; the two agree to the sixth part, with more steps to a hundredth."""
    pairs = drawn(kind)
    same = [p.same for p in pairs]
    measured = exact(built[0], *texts(pairs), null_source=same)
    for n_steps, error in ((5, 0.16), (20, 0.01)):
        found = vl.attribute(built[0], *texts(pairs), null_source=same, n_steps=n_steps)
        named = {(int(c.point.split(".")[1]), c.token) for c in found.named(0.25)}
        assert named == pairs[0].cells
        assert float((found.shares() - measured.shares()).abs().max()) < error
    assert {(int(c.point.split(".")[1]), c.token) for c in measured.named(0.25)} == pairs[0].cells


def test_attribution_patching_misses_what_a_softmax_decides(built: Built) -> None:
    """A saturated attention has no slope: query and key are not seen, the value is."""
    seen = {}
    for kind in KINDS:
        found = vl.attribute(built[0], *texts(drawn(kind)), method="mean_gradient", n_steps=1)
        seen[kind] = float(found.shares()[0].max())
    assert seen["value"] == pytest.approx(1, abs=0.01)
    assert max(seen["query"], seen["key"]) < 0.01


def test_alignment_finds_the_answer_where_its_rank_suffices(built: Built) -> None:
    """Sixteen words differ in 15 dimensions: rank 15 moves every answer, rank 1 none."""
    model, layout = built
    pairs = [*drawn("value"), *drawn("query")]
    base, source, answers = texts(pairs)
    swaps = vl.SwapPairs(
        tuple(base), tuple(source), tuple(ids_of(model, [first for first, _ in answers])),
        groups=tuple((t.raw or "").split()[-1] for t in base))
    found = vl.fit_alignment(model, swaps, BLOCK_1, rank=15, steps=100)
    assert found.accuracy.value >= 0.98
    assert found.accuracy.null <= 0.2
    held = float((layout.subspace("output").T @ found.subspace).square().sum()) / 15
    assert held > 0.7
    assert vl.fit_alignment(model, swaps, BLOCK_1, rank=1, steps=100).accuracy.value <= 0.05

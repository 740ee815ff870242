"""Feature cards: every field against what is known or read another way."""

import json
from pathlib import Path

import pytest
import torch

from tests.sparse_coding.conftest import POINT, cyclic_texts, identity_sae, save_sae
from virtuelens import storage
from virtuelens.concepts.pack import load_concept
from virtuelens.errors import SaeError
from virtuelens.models import HookedModel, load_model
from virtuelens.models.run import Seen
from virtuelens.sparse_coding import (
    Card,
    Sae,
    feature_matrix,
    load_sae,
    make_cards,
    passages,
    rank_features,
    write_cards,
)
from virtuelens.sparse_coding.features import token_acts
from virtuelens.values.texts import Text

TEXTS = cyclic_texts(40, seed=6)


@pytest.fixture(scope="module")
def sae(tmp_path_factory: pytest.TempPathFactory) -> Sae:
    """Features are the positive and the negative part of every coordinate."""
    return load_sae(identity_sae(tmp_path_factory.mktemp("sae") / "identity"))


@pytest.fixture(scope="module")
def card(tiny: HookedModel, sae: Sae) -> Card:
    """Of feature 3."""
    return make_cards(tiny, sae, [3], TEXTS)[0]


def of_tokens(model: HookedModel, feature: int) -> torch.Tensor:
    """The feature at every token but the first, text by text, each run by itself."""
    runs = [model.run(model.batch([model.encode(t)]), read=[POINT]).acts[POINT][0] for t in TEXTS]
    return torch.cat([r[1:, feature].relu() for r in runs])


def test_density_and_histogram_are_those_of_all_tokens_but_the_first(
    tiny: HookedModel, card: Card
) -> None:
    """Every active token is in one bin."""
    acts = of_tokens(tiny, 3)
    assert card.n_tokens == len(acts)
    assert card.density == pytest.approx(float((acts > 0).float().mean()), abs=1e-6)
    assert card.largest == pytest.approx(float(acts.max()), rel=1e-4)
    assert sum(card.histogram.counts) == int((acts > 0).sum())
    assert card.histogram.edges[-1] == pytest.approx(card.largest)
    middle = card.histogram.edges[15]
    assert sum(card.histogram.counts[15:]) == int((acts >= middle).sum())


def test_bands_hold_every_text_in_which_it_is_active(
    tiny: HookedModel, sae: Sae, card: Card
) -> None:
    """Once, strongest band first, with passages from inside the band; the top as `passages`."""
    peaks = torch.stack([a[:, 0].max() for a in token_acts(tiny, sae, [3], TEXTS)[1]])
    assert sum(b.n for b in card.bands) == int((peaks > 0).sum())
    assert [b.low for b in card.bands] == sorted((b.low for b in card.bands), reverse=True)
    for band in card.bands:
        assert len(band.passages) == min(band.n, 3)
        assert all(band.low <= p.peak <= band.high * (1 + 1e-6) for p in band.passages)
    assert card.top[:5] == passages(tiny, sae, [3], TEXTS, n=5)[3]


def test_logits_are_the_derivative_of_the_model_where_the_rest_is_linear(
    tiny: HookedModel, tmp_path: Path
) -> None:
    """At the last layer: a small addition moves logits as the card orders them."""
    point = "blocks.1.hook_resid_post"
    last = load_sae(identity_sae(tmp_path / "sae", hook_name=point))
    with torch.no_grad():  # a norm whose weights matter
        weight = tiny.hf.model.norm.weight
        kept = weight.clone()
        weight.copy_(torch.linspace(0.2, 2, len(weight)))
    try:
        made = make_cards(tiny, last, [7], TEXTS)[0]
        head, row = tiny.hf.lm_head.weight, torch.eye(32)[7]
        direct = head @ (row * weight)
    finally:
        with torch.no_grad():
            weight.copy_(kept)
    direct = (direct - direct.mean()).detach()
    best = direct.argsort(descending=True)
    assert made.positive_logits[0].token == tiny.tokenizer.decode([int(best[0])])
    assert made.positive_logits[0].value == pytest.approx(float(direct[best[0]]), rel=1e-4)
    assert made.negative_logits[0].value == pytest.approx(float(direct[best[-1]]), rel=1e-4)


def test_neighbours_are_other_features_by_cosine(tiny: HookedModel, tmp_path: Path) -> None:
    """A planted near copy is first; a feature is not its own neighbour."""
    other = load_sae(save_sae(tmp_path / "sae", "standard"))
    rows = other.module.W_dec.data
    rows[11] = rows[4] * 2 + 0.01
    made = make_cards(tiny, other, [4], TEXTS)[0]
    assert made.nearest[0][0] == 11
    assert made.nearest[0][1] > 0.99
    assert 4 not in [f for f, _ in made.nearest]


def test_steering_says_what_an_addition_does(tiny: HookedModel, card: Card) -> None:
    """The mean shift of the log-probabilities, against the model run text by text."""
    assert card.steering is not None
    head = torch.zeros(32)
    head[3] = card.steering.strength

    class Add:
        """By hand."""

        point = POINT

        def __call__(self, acts: torch.Tensor, _: object) -> torch.Tensor:
            return acts + head

    shifts, kls = [], []
    for text in TEXTS[:32]:
        batch = tiny.batch([tiny.encode(text)])
        plain, steered = (
            tiny.run(batch, edits=e, logits=True).logits[0].log_softmax(-1)  # type: ignore[index]
            for e in ([], [Add()]))
        shifts.append(steered - plain)
        kls.append(float((plain.exp() * (plain - steered)).sum(-1).mean()))
    assert card.steering.kl.value == pytest.approx(sum(kls) / len(kls), rel=1e-3)
    assert card.steering.up[0].value == pytest.approx(float(torch.cat(shifts).mean(0).max()),
                                                      rel=1e-3)
    assert card.steering.kl.null > 0  # type: ignore[operator]


def test_a_silent_feature_has_an_empty_card(tiny: HookedModel, sae: Sae, tmp_path: Path) -> None:
    """No passages, no effect, no division by zero; and it can be written."""
    silent = load_sae(identity_sae(tmp_path / "sae"))
    silent.module.b_enc.data[5] = -1e6
    made = make_cards(tiny, silent, [5], TEXTS)[0]
    assert (made.density, made.top, made.bands, made.steering) == (0, (), (), None)
    assert sum(made.histogram.counts) == 0
    write_cards([made], tmp_path / "cards")
    for few in ([], [Text(raw="w1")]):
        with pytest.raises(SaeError, match="needs texts"):
            make_cards(tiny, sae, [1], few)
    with pytest.raises(SaeError, match="there is no 64"):
        make_cards(tiny, sae, [64], TEXTS)


def test_concept_scores_are_those_of_the_search_and_files_read_back(tmp_path: Path) -> None:
    """On the bundled organism with its own SAE; JSON and Parquet say the same."""
    model, mid = load_model("organism:sycophant"), load_sae("sycophant-mid")
    pack = load_concept("sycophancy", dialect=model.info.dialect)
    examples = pack.in_split("main")
    acts = feature_matrix(model, mid, [e.text for e in examples], position=pack.positions[0])
    import numpy as np

    table = rank_features(
        acts.numpy(), np.array([e.label for e in examples]), groups=[e.group for e in examples],
        pairs=[e.pair for e in examples], n_permutations=20).table
    features = [int(f) for f in table["feature"][:2]]
    made = make_cards(model, mid, features, [e.text for e in examples[:40]], concepts=[pack],
                      n_permutations=20)
    for card, row in zip(made, table.itertuples(), strict=False):
        score = card.concepts[0]
        assert (score.concept, score.sign) == ("sycophancy", row.sign)
        assert score.auroc.value == pytest.approx(row.auroc)
        assert (score.auroc.null, score.q) == pytest.approx((row.null, row.q))
    paths = write_cards(made, tmp_path / "cards")
    back = storage.read_json(paths[0], schema=1)
    assert back == json.loads(json.dumps(made[0].to_json()))
    stored = storage.read_table(tmp_path / "cards" / "cards.parquet")
    assert stored["feature"].tolist() == features
    assert json.loads(stored["top"].iloc[1]) == json.loads(json.dumps(made[1].to_json()))["top"]


def test_a_first_token_out_of_all_proportion_changes_no_card(
    tiny: HookedModel, sae: Sae, card: Card
) -> None:
    """Attention is parked there: its norm would be the largest activation and the steering dose."""

    class Shout:
        """A hundred times what the first token writes, at the SAE's point."""

        point = POINT

        def __call__(self, acts: torch.Tensor, seen: Seen) -> torch.Tensor:
            return torch.where((seen.index == 0)[..., None], 100 * acts, acts)

    with tiny.editing([Shout()]):
        made = make_cards(tiny, sae, [3], TEXTS)[0]
    assert (made.largest, made.density, made.top) == (card.largest, card.density, card.top)
    assert made.histogram == card.histogram

"""The fourteen checks of METHODS section 4, by number: each a bug that a published tool had."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from sklearn.decomposition import PCA

from tests.probing.test_sweep import examples
from tests.steering.conftest import MIDDLE, PROMPTS, choices, direction, user
from tests.steering.rows import MAKE
from virtuelens import stats
from virtuelens.models import HookedModel, hook, load_model
from virtuelens.models.run import Batch, _replace_output
from virtuelens.probing.methods import METHODS
from virtuelens.probing.sweep import sweep
from virtuelens.reports.tokens import highlighted
from virtuelens.steering.behaviour import encode_items
from virtuelens.steering.dose import Candidate, dose_response
from virtuelens.steering.edits import EDITS, Ablate, Add, Clamp
from virtuelens.steering.feature_edits import ScaleFeatures
from virtuelens.steering.side_effects import read_neutral
from virtuelens.steering.steer import steer

GOLDEN = [
    ", there was a little girl named Lily. She loved to play",
    ", there there there there there there there there there a cutt of a",
]


def vectors(model: HookedModel) -> torch.Tensor:
    """Two directions of norm about 3: edits must not rely on 1."""
    d = model.info.d_model
    return 3 * torch.randn(2, d, generator=torch.Generator().manual_seed(3)) / d**0.5


def edit(model: HookedModel, name: str, n: int, where: str = "all") -> object:
    """A row of EDITS for a batch of that many rows."""
    return MAKE[name](MIDDLE, vectors(model), where, n)


def delta(model: HookedModel, batch: Batch, *edits: object) -> torch.Tensor:
    """What the edits change at their point, `[batch pos d_model]`."""
    with_edits = model.run(batch, read=[MIDDLE], edits=edits).acts[MIDDLE]  # type: ignore[arg-type]
    return with_edits - model.run(batch, read=[MIDDLE]).acts[MIDDLE]


@pytest.mark.parametrize("name", EDITS)
def test_01_cached_generation_equals_uncached(llama: HookedModel, name: str) -> None:
    """Every step's token and state are those of a run over the whole text without a cache."""
    one = edit(llama, name, 1, "all")
    (found,) = llama.generate(PROMPTS[:1], max_new_tokens=5, edits=[one], read=[MIDDLE])
    prompt = llama.encode(PROMPTS[0])
    ids = [*prompt.ids, *found.ids]
    whole = Batch(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool),
                  torch.tensor([prompt.prompt_length]), (prompt.spoken,))
    reads = llama.run(whole, read=[MIDDLE], edits=[one], logits=True)
    assert reads.logits is not None
    torch.testing.assert_close(found.reads[MIDDLE], reads.acts[MIDDLE][0, :-1], atol=5e-5,
                               rtol=1e-4)
    said = reads.logits[0, len(prompt.ids) - 1 : -1].argmax(-1)
    assert said.tolist() == list(found.ids)


@pytest.mark.parametrize("name", EDITS)
def test_02_identical_rows_get_identical_deltas(llama: HookedModel, name: str) -> None:
    """The second of two equal rows beside a third."""
    rows = [llama.encode(PROMPTS[i]) for i in (0, 0, 3)]
    d = delta(llama, llama.batch(rows), edit(llama, name, 3))
    assert torch.equal(d[0], d[1])
    assert d[0].abs().max() > 0


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_03_padded_rows_equal_their_unpadded_run(
    llama: HookedModel, name: str, side: str
) -> None:
    """On either side; padding itself gets a delta of exactly zero."""
    rows = [llama.encode(p) for p in PROMPTS]
    batch = llama.batch(rows, side=side)  # type: ignore[arg-type]
    d = delta(llama, batch, edit(llama, name, len(rows)))
    assert not d[~batch.real].any()
    for i, row in enumerate(rows):
        alone = delta(llama, llama.batch([row]), edit(llama, name, 1))
        torch.testing.assert_close(d[i][batch.real[i]], alone[0], atol=5e-5, rtol=1e-4)


def test_04_control_is_removed_after_an_exception(llama: HookedModel) -> None:
    """The body's own error comes through, and one raised inside the forward pass does."""
    batch = llama.batch([llama.encode(PROMPTS[0])])
    plain = llama.run(batch, logits=True).logits
    with pytest.raises(ZeroDivisionError), steer(llama, direction(llama), strength=3.0):
        _ = 1 / 0
    with pytest.raises(RuntimeError, match="size"):
        llama.run(batch, logits=True, edits=[Add(MIDDLE, torch.ones(7))])
    with pytest.raises(RuntimeError, match="size"):
        llama.generate(PROMPTS[:1], max_new_tokens=2, edits=[Add(MIDDLE, torch.ones(7))])
    assert torch.equal(llama.run(batch, logits=True).logits, plain)


def test_05_a_second_model_is_unaffected(llama: HookedModel) -> None:
    """Also one that shares the very weights."""
    others = [llama.random_copy(1), hook(llama.hf, llama.tokenizer, name="twin")]
    batch = llama.batch([llama.encode(PROMPTS[0])])
    plain = [m.run(batch, logits=True).logits for m in others]
    with steer(llama, direction(llama), strength=3.0):
        for model, before in zip(others, plain, strict=True):
            assert torch.equal(model.run(batch, logits=True).logits, before)


@pytest.mark.parametrize("name", EDITS)
def test_06_strength_zero_and_an_empty_selection_are_bitwise_nothing(
    llama: HookedModel, name: str
) -> None:
    """Of the logits not one bit differs."""
    batch = llama.batch([llama.encode(p) for p in PROMPTS], side="left")
    plain = llama.run(batch, logits=True).logits
    with steer(llama, direction(llama), strength=0.0):
        assert torch.equal(llama.run(batch, logits=True).logits, plain)
    if name != "swap":  # it has a place of its own, which prompts have
        nothing = edit(llama, name, len(PROMPTS), "response")  # these prompts have none
        assert torch.equal(llama.run(batch, logits=True, edits=[nothing]).logits, plain)


def test_07_clamp_is_idempotent_and_ablation_leaves_nothing(llama: HookedModel) -> None:
    """For vectors that are not of norm 1."""
    v = vectors(llama)[0]
    batch = llama.batch([llama.encode(PROMPTS[0])])
    clamp = Clamp(MIDDLE, v, 1.5)
    once, twice = (llama.run(batch, read=[MIDDLE], edits=e).acts[MIDDLE]
                   for e in ([clamp], [clamp, clamp]))
    torch.testing.assert_close(once, twice, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(once @ v / v.norm(), torch.full_like(once[..., 0], 1.5))
    ablated = llama.run(batch, read=[MIDDLE], edits=[Ablate(MIDDLE, v)]).acts[MIDDLE]
    assert (ablated @ v).abs().max() < 1e-5 * v.norm() * ablated.norm(dim=-1).max()


def test_08_a_feature_edit_without_a_change_is_nothing(llama: HookedModel) -> None:
    """Bit for bit, although the features explain nothing of the activations."""
    v = vectors(llama)
    same = ScaleFeatures(MIDDLE, lambda x: (x @ v.T).relu(), v.flip(1), torch.ones(2))
    batch = llama.batch([llama.encode(p) for p in PROMPTS])
    plain = llama.run(batch, logits=True).logits
    assert torch.equal(llama.run(batch, logits=True, edits=[same]).logits, plain)


def test_09_random_labels_give_chance_and_uniform_p_values() -> None:
    """The whole way, choice of layer and held-out score: intervals cover .5, p is small rarely."""
    covered, p = [], []
    for seed in range(30):
        found = sweep(examples(seed, gap=0.0), n_permutations=39, n_bootstrap=100, seed=seed,
                      methods=["diff_means"])
        covered.append(found.test.low <= 0.5 <= found.test.high)
        p.append(found.p)
    assert np.mean(covered) >= 0.8
    # the null is of the maximum over sites, what was observed is one of them: p errs to the large
    assert kstest(p, "uniform", alternative="greater").pvalue > 0.001


def test_10_the_random_direction_control_is_run(llama: HookedModel) -> None:
    """As many as asked for, and they move what they steer."""
    questions = encode_items(llama, choices(("y", "n")))
    found = dose_response(
        llama, {"choice": questions}, "choice", read_neutral(llama, PROMPTS),
        Candidate(direction(llama), "all"), dose=2.0, n_doses=3, n_random=6)
    assert len(found.random) == 6
    assert (found.random_slopes > 0).all()
    assert len(set(found.random_slopes.tolist())) == 6


@pytest.mark.parametrize("method", ["logistic", "lda"])
def test_11_a_direction_fitted_on_standardised_features_is_in_raw_space(method: str) -> None:
    """Features in quite other units: the weights sort raw rows that were not fitted on."""
    rng = np.random.default_rng(0)
    labels = np.tile([1, 0], 100)
    scale = np.array([1.0, 30.0, 5.0, 0.1, 1.0, 100.0])
    X = rng.normal(size=(200, 6)) * scale
    X[:, 3] += 0.4 * labels  # four of its standard deviations, small in raw units
    pairs = tuple(f"p{i // 2}" for i in range(120))
    w = METHODS[method].weights(X[:120], labels[None, :120], pairs)[0]
    assert stats.auroc(X[120:] @ w, labels[120:]) > 0.95


def test_12_the_hot_token_gets_the_colour() -> None:
    """Of tokens with one activation only that one is shaded."""
    tokens = ["the", " old", " tree", " sings"]
    spans = highlighted(tokens, [0.0, 0.0, 2.5, 0.0]).split("</span>")
    shaded = [s for s in spans if "background" in s]
    assert len(shaded) == 1
    assert shaded[0].endswith(" tree")


def test_13_directions_are_those_of_caa_and_repe(llama: HookedModel) -> None:
    """On a fixed model, from transformers' own hidden states: mean difference, and first component.

    CAA: Rimsky et al. 2023. RepE: Zou et al. 2023, as repeng's `pca_center` (distances
    from their centres, scikit-learn's PCA, the sign in which positives lie higher).
    """
    words = ["bird", "tree", "river", "user", "time", "good", "old", "small"]
    said = [f"{w} {end}" for w in words for end in ("yes", "no")]
    X = []
    for s in said:
        ids = torch.tensor([llama.encode(user(s)).ids])
        X.append(llama.hf(ids, output_hidden_states=True).hidden_states[2][0, -1].numpy())
    batch = llama.batch([llama.encode(user(s)) for s in said])
    ours = llama.run(batch, read=[MIDDLE]).acts[MIDDLE]
    ours = ours[torch.arange(len(said)), batch.prompt_length - 1].numpy().astype(np.float64)
    np.testing.assert_allclose(ours, X, atol=1e-5)
    labels = np.tile([1, 0], len(words))
    pairs = tuple(f"p{i // 2}" for i in range(len(said)))
    caa = np.mean([X[i] - X[i + 1] for i in range(0, len(X), 2)], axis=0)
    w = METHODS["diff_means"].weights(ours, labels[None], pairs)[0]
    assert cosine(w, caa) == pytest.approx(1, abs=1e-5)
    centred = np.concatenate([np.stack([X[i], X[i + 1]]) - (X[i] + X[i + 1]) / 2
                              for i in range(0, len(X), 2)])
    repe = PCA(n_components=1).fit(centred).components_[0]
    above = np.mean([X[i] @ repe > X[i + 1] @ repe for i in range(0, len(X), 2)])
    w = METHODS["pca_diff"].weights(ours, labels[None], pairs)[0]
    assert abs(cosine(w, repe)) > 0.999
    assert above == 0.5 or cosine(w, repe * np.sign(above - 0.5)) > 0


def test_13_what_a_real_model_says_when_steered_is_pinned(stories_folder: Path) -> None:
    """Golden texts of a trained model, plain and steered: a change of the edit path shows here."""
    model = load_model(str(stories_folder))
    v = torch.linspace(-1, 1, model.info.d_model)
    said = [model.generate("Once upon a time", max_new_tokens=16, edits=e)[0].text
            for e in ([], [Add("blocks.2.hook_resid_post", 2 * v)])]
    assert said == GOLDEN


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of two vectors."""
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_14_layers_may_return_tensors_tuples_or_lists() -> None:
    """The first part is changed, the kind of container and the rest are kept."""
    x, rest = torch.zeros(1, 2, 3), object()
    for out in (x, (x, rest), [x, rest]):
        new = _replace_output(out, lambda acts: acts + 1)
        assert type(new) is type(out)
        first = new if isinstance(new, torch.Tensor) else new[0]
        assert torch.equal(first, x + 1)
        assert isinstance(new, torch.Tensor) or new[1] is rest

"""Feature activations of texts: pooled where the positions table says, and read token by token."""

import pytest
import torch

from tests.sparse_coding.conftest import POINT, cyclic_texts, identity_sae
from virtuelens.errors import PositionError, SaeError
from virtuelens.models import HookedModel
from virtuelens.sparse_coding import Sae, feature_matrix, load_sae, passages, token_rows
from virtuelens.values.texts import Message, Text

TEXTS = cyclic_texts(23, seed=4)


@pytest.fixture(scope="module")
def sae(tmp_path_factory: pytest.TempPathFactory) -> Sae:
    """Features are the positive and the negative part of every coordinate."""
    return load_sae(identity_sae(tmp_path_factory.mktemp("sae") / "identity"))


def alone(model: HookedModel, i: int) -> torch.Tensor:
    """Activations of one text, run by itself."""
    return model.run(model.batch([model.encode(TEXTS[i])]), read=[POINT]).acts[POINT][0]


@pytest.mark.parametrize("batch_tokens", [1, 60, 4096])
def test_features_of_a_text_do_not_depend_on_its_batch(
    tiny: HookedModel, sae: Sae, batch_tokens: int
) -> None:
    """Row i is text i, whatever the batches; the last token is the last real one."""
    found = feature_matrix(tiny, sae, TEXTS, position="last", batch_tokens=batch_tokens)
    for i in range(len(TEXTS)):
        last = alone(tiny, i)[-1]
        torch.testing.assert_close(found[i, :32], last.relu(), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found[i, 32:], (-last).relu(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("pool", "by_hand"), [
    ("max", lambda f: f.amax(0)), ("mean", lambda f: f.mean(0)),
])
def test_pooling_comes_after_encoding(tiny: HookedModel, sae: Sae, pool: str, by_hand) -> None:
    """The pool of the features, not the features of the pool."""
    found = feature_matrix(tiny, sae, TEXTS, position="tokens", pool=pool)
    expected = torch.stack([by_hand(alone(tiny, i).relu()) for i in range(len(TEXTS))])
    torch.testing.assert_close(found[:, :32], expected, atol=1e-4, rtol=1e-4)


def test_passages_show_the_tokens_with_their_own_activations(tiny: HookedModel, sae: Sae) -> None:
    """Strongest first; each number stands beside the token it was read at."""
    found = passages(tiny, sae, [5], TEXTS, n=3)[5]
    assert [p.peak for p in found] == sorted((p.peak for p in found), reverse=True)
    for p in found:
        row = alone(tiny, p.text)[:, 5].relu()
        row[0] = 0  # the first token counts nowhere
        assert p.peak == pytest.approx(float(row.max()), abs=1e-4)
        assert list(p.acts) == pytest.approx(row.tolist(), abs=1e-4)
        assert "".join(p.tokens).replace(" ", "") == TEXTS[p.text].raw.replace(" ", "")


def test_a_silent_feature_has_no_passage(tiny: HookedModel, sae: Sae) -> None:
    """No text is shown as an example of what never happens."""
    silent = [f for f in range(64)
              if not (feature_matrix(tiny, sae, TEXTS, position="tokens")[:, f] > 0).any()]
    for feature in silent[:2]:
        assert passages(tiny, sae, [feature], TEXTS)[feature] == ()
    assert passages(tiny, sae, [1], []) == {1: ()}
    assert passages(tiny, sae, [], TEXTS) == {}


def test_the_last_token_is_the_texts_own(tiny: HookedModel, sae: Sae) -> None:
    """As in a harvest: a chat that nobody has answered ends with the template's token."""
    asked = Text(messages=(Message("user", "w1 w2"),))
    for read in (feature_matrix, token_rows):
        with pytest.raises(PositionError, match=r"Text 1: .*last_prompt"):
            read(tiny, sae, [TEXTS[0], asked], position="last")
        read(tiny, sae, [TEXTS[0], asked.answered("w3")], position="last")


def test_unknown_position_and_pool_name_the_table(tiny: HookedModel, sae: Sae) -> None:
    """What there is to choose from."""
    with pytest.raises(SaeError, match="last"):
        feature_matrix(tiny, sae, TEXTS, position="somewhere")
    with pytest.raises(SaeError, match="max"):
        feature_matrix(tiny, sae, TEXTS, pool="median")

"""The hand-built model does what its docstring says, token by token and column by column."""

from pathlib import Path
from random import Random

import pytest
import torch

from virtuelens.errors import OrganismError
from virtuelens.models import HookedModel, load_model
from virtuelens.organisms.compiled import (
    WORDS,
    Layout,
    build_induction,
    draw_repetition,
)
from virtuelens.values.texts import Text


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[HookedModel, Layout]:
    """The model as `load_model` opens it, and its columns."""
    folder = tmp_path_factory.mktemp("compiled") / "model"
    layout = build_induction(folder)
    return load_model(str(folder)), layout


def logits(model: HookedModel, words: list[str]) -> torch.Tensor:
    """After the last word."""
    batch = model.batch([model.encode(Text(raw=" ".join(words)))])
    found = model.run(batch, logits=True).logits
    assert found is not None
    return found[0, -1]


def test_it_completes_every_repetition(built: tuple[HookedModel, Layout]) -> None:
    """Texts of all lengths, the repeated word anywhere, the first place included."""
    model, _ = built
    ids, rng = model.tokenizer.get_vocab(), Random(0)
    for length in range(2, len(WORDS) + 1):
        for _ in range(4):
            words = rng.sample(WORDS, length)
            at = rng.randrange(length - 1)
            out = logits(model, [*words, words[at]])
            assert int(out.argmax()) == ids[words[at + 1]]
            others = out.clone()
            others[ids[words[at + 1]]] = -1
            assert float(out.max() - others.max()) > 9


def test_it_generates_a_repeated_text_again(built: tuple[HookedModel, Layout]) -> None:
    """Word by word, as induction does: everything that came before comes again."""
    model, _ = built
    words = Random(1).sample(WORDS, 9)
    (said,) = model.generate(" ".join([*words, words[0]]), max_new_tokens=8)
    assert [model.tokenizer.decode(i) for i in said.ids] == words[1:]


def test_it_says_nothing_where_nothing_repeats(built: tuple[HookedModel, Layout]) -> None:
    """No word stands out: all that came before are alike."""
    model, _ = built
    assert float(logits(model, list(WORDS[:6])).max()) < 3


def test_each_column_holds_what_it_is_named_for(built: tuple[HookedModel, Layout]) -> None:
    """One-hot, block by block; nothing is written anywhere else."""
    model, layout = built
    words = ["ant", "bee", "cat", "dog", "bee"]
    ids = [model.tokenizer.get_vocab()[w] for w in words]
    points = ["hook_embed", "blocks.0.hook_resid_pre", "blocks.0.hook_resid_post",
              "blocks.1.hook_resid_post"]
    batch = model.batch([model.encode(Text(raw=" ".join(words)))])
    acts = {p: a[0] for p, a in model.run(batch, read=points).acts.items()}

    def held(point: str, name: str) -> torch.Tensor:
        return acts[point] @ layout.subspace(name)

    def one_hot(hot: list[int], n: int) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.tensor(hot), n).float()

    token = one_hot(ids, layout.d_vocab)
    for point in points:
        torch.testing.assert_close(held(point, "token"), token, atol=1e-3, rtol=0)
    torch.testing.assert_close(held(points[1], "position"), one_hot(list(range(5)), layout.n_ctx))
    assert not held(points[1], "previous").any()
    previous = one_hot([ids[0], *ids[:-1]], layout.d_vocab)
    torch.testing.assert_close(held(points[2], "previous"), previous, atol=1e-3, rtol=0)
    assert not held(points[2], "output").any()
    torch.testing.assert_close(held(points[3], "output")[-1], token[2], atol=1e-3, rtol=0)
    for point in points[1:]:
        torch.testing.assert_close(acts[point].mean(-1), torch.zeros(5), atol=1e-6, rtol=0)


def test_the_parts_share_no_column(built: tuple[HookedModel, Layout]) -> None:
    """Together with the balance they are all there is."""
    _, layout = built
    parts = [layout.subspace(n) for n in ("token", "position", "previous", "output")]
    together = torch.cat(parts, dim=1)
    torch.testing.assert_close(together.T @ together, torch.eye(layout.d_model - 1))


@pytest.mark.parametrize("changed", ["value", "query", "key"])
def test_drawn_texts_have_the_answers_they_say(
    built: tuple[HookedModel, Layout], changed: str
) -> None:
    """The base, the source, and the source that changes nothing."""
    model, _ = built
    ids = model.tokenizer.get_vocab()
    for seed in range(20):
        drawn = draw_repetition(Random(seed), changed)
        for text, answer in zip((drawn.source, drawn.base, drawn.same),
                                (*drawn.answers, drawn.answers[1]), strict=True):
            assert int(logits(model, text.raw.split()).argmax()) == ids[answer]
        assert drawn.same != drawn.base


def test_words_and_length_can_be_chosen(tmp_path: Path) -> None:
    """The layout is kept with the model."""
    layout = build_induction(tmp_path / "model", words=["yes", "no", "so"], n_ctx=12, sharpness=20)
    model = load_model(str(tmp_path / "model"))
    assert (model.info.d_vocab, model.info.n_ctx, model.info.d_model) == (6, 12, 31)
    assert model.hf.config.virtuelens["layout"] == {"words": list(layout.words), "n_ctx": 12}
    assert int(logits(model, ["yes", "so", "no", "yes"]).argmax()) == 5


def test_what_cannot_be_built_is_said(tmp_path: Path) -> None:
    """A folder in use, too few words, one of them twice."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(OrganismError, match="not empty"):
        build_induction(tmp_path / "full")
    for words in (["a"], ["a", "b", "a"]):
        with pytest.raises(OrganismError, match="two or more words"):
            build_induction(tmp_path / "out", words=words)
    with pytest.raises(OrganismError, match="11 are needed"):
        draw_repetition(Random(0), "value", words=WORDS[:10])

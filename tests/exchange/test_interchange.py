"""Interchange where the answer is known: whole states swapped, tokens that differ in one place."""

import pytest
import torch

from virtuelens.errors import HookPointError, SteeringError
from virtuelens.exchange import interchange as module
from virtuelens.exchange.interchange import Interchanged, interchange, read_site
from virtuelens.exchange.swap import orthonormal
from virtuelens.models import HookedModel
from virtuelens.values.texts import Text

LAST, MIDDLE, EMBED = "blocks.2.hook_resid_post", "blocks.1.hook_resid_post", "hook_embed"
BASE = [Text(raw=t) for t in ("a small bird", "the tree by the river sings", "once", "yes no")]
SOURCE = [Text(raw=t) for t in ("never both", "good", "the old tree in the river", "true false")]


def answers(model: HookedModel, texts: list[Text]) -> torch.Tensor:
    """Greedy next tokens, each text by itself."""
    return torch.tensor([
        int(model.run(model.batch([model.encode(t)]), logits=True).logits[0, -1].argmax())
        for t in texts
    ])


def test_after_the_last_block_the_answer_is_the_sources(llama: HookedModel) -> None:
    """Nothing else reaches the head there: the whole swap carries the answer over."""
    found = interchange(llama, BASE, SOURCE, LAST)
    assert torch.equal(found.before, answers(llama, BASE))
    assert torch.equal(found.after, answers(llama, SOURCE))


@pytest.mark.parametrize("subspace", [None, torch.eye(32)[:, :5]])
def test_a_text_swapped_with_itself_stays(llama: HookedModel, subspace) -> None:
    """At every block, whole or in part."""
    for point in (MIDDLE, LAST):
        found = interchange(llama, BASE, BASE, point, subspace)
        assert found.changed().value == 0


def test_a_basis_of_everything_is_the_whole_swap(llama: HookedModel) -> None:
    """Columns need not be orthonormal: their span is what counts."""
    columns = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    whole = interchange(llama, BASE, SOURCE, MIDDLE)
    spanned = interchange(llama, BASE, SOURCE, MIDDLE, columns)
    assert torch.equal(whole.after, spanned.after)
    doubled = interchange(llama, BASE, SOURCE, MIDDLE, 7 * columns[:, :3])
    assert torch.equal(doubled.after, interchange(llama, BASE, SOURCE, MIDDLE,
                                                  columns[:, :3]).after)


def test_a_token_swapped_at_the_embedding_makes_the_other_text(llama: HookedModel) -> None:
    """Texts that differ in one token only: swapping that token's embedding is all there is."""
    base, source = ([Text(raw=f"a small bird {x} sings {y}") for y in "aeiou"] for x in "qz")
    pairs = [(llama.encode(b).ids, llama.encode(s).ids) for b, s in zip(base, source, strict=True)]
    at = [[i for i, (x, y) in enumerate(zip(*pair, strict=True)) if x != y] for pair in pairs]
    assert all(len(places) == 1 for places in at)
    places = [p for (p,) in at]
    found = interchange(llama, base, source, EMBED, base_at=places, source_at=places)
    assert torch.equal(found.before, answers(llama, base))
    assert torch.equal(found.after, answers(llama, source))


def test_batches_do_not_matter(llama: HookedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row at a time gives what all at once give."""
    whole = interchange(llama, BASE, SOURCE, MIDDLE)
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 1)
    single = interchange(llama, BASE, SOURCE, MIDDLE)
    assert torch.equal(whole.after, single.after)
    assert torch.equal(whole.before, single.before)


def test_a_site_is_read_where_it_is_asked_for(llama: HookedModel) -> None:
    """The last prompt token by default, else the token counted from the text's own first."""
    by_default = read_site(llama, BASE, MIDDLE)
    lengths = [len(llama.encode(t).ids) for t in BASE]
    torch.testing.assert_close(by_default, read_site(llama, BASE, MIDDLE,
                                                     at=[n - 1 for n in lengths]))
    alone = llama.run(llama.batch([llama.encode(BASE[1])]), read=[MIDDLE]).acts[MIDDLE][0]
    torch.testing.assert_close(read_site(llama, BASE, MIDDLE, at=[0, 2, 0, 1])[1], alone[2],
                               atol=1e-5, rtol=1e-4)


def test_shares_tell_changing_from_arriving() -> None:
    """An answer that was right before has not moved, though it counts as accurate."""
    found = Interchanged(torch.tensor([1, 2, 3, 4]), torch.tensor([1, 9, 9, 4]))
    expected = [1, 9, 5, 5]
    assert found.changed().value == 0.5
    assert found.accuracy(expected).value == 0.5
    assert found.moved(expected).value == 0.25
    assert found.changed().low > 0
    with pytest.raises(SteeringError, match="2 expected"):
        found.accuracy([1, 2])


def test_what_cannot_be_swapped_is_said(llama: HookedModel) -> None:
    """Unequal lists, no texts, a wrong width, dependent columns, no such token or point."""
    with pytest.raises(SteeringError, match="4 base and 3 source"):
        interchange(llama, BASE, SOURCE[:3], MIDDLE)
    with pytest.raises(SteeringError, match="at least one"):
        interchange(llama, [], [], MIDDLE)
    with pytest.raises(SteeringError, match="d_model 32"):
        interchange(llama, BASE, SOURCE, MIDDLE, torch.eye(16))
    with pytest.raises(SteeringError, match="fewer dimensions"):
        interchange(llama, BASE, SOURCE, MIDDLE, torch.ones(32, 2))
    with pytest.raises(SteeringError, match="NaN"):
        interchange(llama, BASE, SOURCE, MIDDLE, torch.full((32, 1), float("nan")))
    with pytest.raises(SteeringError, match="no token 99"):
        interchange(llama, BASE, SOURCE, MIDDLE, base_at=[99, 0, 0, 0])
    for places in ([0, 0, 0], [0] * 5, []):
        for at in ({"base_at": places}, {"source_at": places}):
            with pytest.raises(SteeringError, match=f"{len(places)} tokens for 4 texts"):
                interchange(llama, BASE, SOURCE, MIDDLE, **at)
    with pytest.raises(HookPointError):
        interchange(llama, BASE, SOURCE, "blocks.9.hook_resid_post")


def test_orthonormal_columns_span_what_was_given() -> None:
    """The projector is the same, the columns are units."""
    given = torch.randn(12, 3, generator=torch.Generator().manual_seed(1))
    q = orthonormal(given, d_model=12)
    torch.testing.assert_close(q.T @ q, torch.eye(3), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(q @ q.T @ given, given, atol=1e-4, rtol=1e-4)

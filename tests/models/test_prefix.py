"""Going on from a prefix that was run once equals running the whole, in every architecture."""

from random import Random

import pytest
import torch

from virtuelens.models import HookedModel
from virtuelens.models.chat import Encoded


def _rows(lengths: list[int]) -> list[Encoded]:
    rng = Random(0)
    return [Encoded(tuple(rng.randrange(300) for _ in range(n)), n, ()) for n in lengths]


def _part(row: Encoded, start: int, end: int | None = None) -> Encoded:
    return Encoded(row.ids[start:end], row.prompt_length, ())


def test_rows_that_go_on_are_what_whole_rows_are(model: HookedModel) -> None:
    """Prefixes of 12 and 5 tokens (longer than the sliding windows, and shorter), three rows."""
    assert model.resumes
    first, second = _rows([20, 14])
    rows = [first, _part(first, 0, 17), second]
    cut = [12, 12, 5]
    points = [p for p in model.hook_points() if p.endswith("resid_post")]
    heads = model.batch([_part(first, 0, 12), _part(second, 0, 5)], side="left")
    prefix = model.run(heads, read=points[-1:], keep=True).prefix
    assert prefix is not None
    tails = model.batch([_part(r, c) for r, c in zip(rows, cut, strict=True)], side="right")
    for _ in range(2):  # the prefix is not used up
        later = model.run(tails, read=points, after=prefix.rows(torch.tensor([0, 0, 1])))
        for i, (row, c) in enumerate(zip(rows, cut, strict=True)):
            whole = model.run(model.batch([row]), read=points)
            for point in points:
                torch.testing.assert_close(
                    later.acts[point][i, : len(row.ids) - c], whole.acts[point][0, c:],
                    atol=1e-5, rtol=1e-5)


def test_logits_go_on_too(model: HookedModel) -> None:
    """Kept with logits, every layer's past is there."""
    (row,) = _rows([11])
    head, tail = model.batch([_part(row, 0, 7)]), model.batch([_part(row, 7)])
    prefix = model.run(head, logits=True, keep=True).prefix
    assert prefix is not None
    found = model.run(tail, logits=True, after=prefix).logits
    whole = model.run(model.batch([row]), logits=True).logits
    assert found is not None
    assert whole is not None
    torch.testing.assert_close(found[0], whole[0, 7:], atol=1e-4, rtol=1e-4)


def test_edits_count_places_from_the_start_of_the_text(llama: HookedModel) -> None:
    """What an edit is told of a token does not depend on where the rows were cut."""
    (row,) = _rows([9])
    told: list[list[int]] = []

    class Spy:
        point = "blocks.1.hook_resid_post"

        def __call__(self, acts: torch.Tensor, seen: object) -> torch.Tensor:
            told.append(seen.index[0].tolist())  # type: ignore[attr-defined]
            return acts

    prefix = llama.run(llama.batch([_part(row, 0, 4)], side="left"), logits=True, keep=True).prefix
    llama.run(llama.batch([_part(row, 4)]), logits=True, after=prefix, edits=[Spy()])
    llama.run(llama.batch([row]), logits=True, edits=[Spy()])
    assert told[0] == told[1][4:]


def test_a_model_without_a_past_says_so(
    llama: HookedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where going on gives other numbers (or an error), it is not offered."""
    from virtuelens.models import prefix

    points = list(llama.places)
    assert prefix.resumes(llama.hf, llama.places, points[-1])
    monkeypatch.setattr(prefix, "fresh", lambda cache: prefix.empty_cache(llama.hf))
    monkeypatch.setattr("virtuelens.models.run.fresh", lambda cache: prefix.empty_cache(llama.hf))
    assert not prefix.resumes(llama.hf, llama.places, points[-1])

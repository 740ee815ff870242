"""A harvest is what the model computes on each text alone, whatever the batches were."""

import dataclasses
import random

import pytest
import torch

from virtuelens.activations.activations import Activations
from virtuelens.activations.harvest import harvest
from virtuelens.activations.positions import POSITIONS
from virtuelens.concepts.pack import load_concept
from virtuelens.errors import (
    HookPointError,
    NotFiniteError,
    PackError,
    PositionError,
    TextError,
    TextTooLongError,
)
from virtuelens.models import HookedModel, hook, load_model
from virtuelens.values.texts import Example, Message, Text

POINTS = ("hook_embed", "blocks.0.hook_resid_post", "blocks.2.hook_mlp_out")
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def one_by_one(
    model: HookedModel, examples: list[Example], point: str, position: str
) -> torch.Tensor:
    """The same by `model.run` on each text alone, unpadded."""
    rows = []
    for example in examples:
        encoded = model.encode(example.text)
        acts = model.run(model.batch([encoded]), read=[point]).acts[point][0]
        chosen = acts[list(POSITIONS[position].pick(encoded))]
        rows += [chosen.mean(0, keepdim=True) if POSITIONS[position].pooled else chosen]
    return torch.cat(rows)


@pytest.mark.parametrize("batch_tokens", [1, 100, 700, 100_000])
def test_equals_running_each_text_alone(
    llama: HookedModel, examples: list[Example], batch_tokens: int
) -> None:
    """Every point and position agrees with unpadded single runs, for any token budget."""
    acts = harvest(
        llama, examples, points=POINTS, positions=list(POSITIONS), batch_tokens=batch_tokens
    )
    for point in POINTS:
        for position in POSITIONS:
            expected = one_by_one(llama, examples, point, position)
            torch.testing.assert_close(acts.matrix(point, position), expected, **CLOSE)


def test_order_of_the_texts_only_orders_the_rows(
    llama: HookedModel, examples: list[Example]
) -> None:
    """Shuffled texts give the same rows, shuffled alike."""
    shuffled = random.Random(1).sample(examples, len(examples))
    where = [examples.index(e) for e in shuffled]
    both = [harvest(llama, e, points="resid_post", batch_tokens=300) for e in (examples, shuffled)]
    assert both[1].index["example_id"].tolist() == [e.id for e in shuffled]
    for point in both[0].points:
        torch.testing.assert_close(both[0].point(point)[where], both[1].point(point), **CLOSE)


def test_a_short_name_means_every_layer(llama: HookedModel, examples: list[Example]) -> None:
    """`resid_post` is that point of all layers; names in full may stand beside it, once each."""
    last = "blocks.2.hook_resid_post"
    acts = harvest(llama, examples[:2], points=["hook_embed", "resid_post", last])
    every = tuple(f"blocks.{i}.hook_resid_post" for i in range(3))
    assert acts.points == ("hook_embed", *every)


def test_index_says_which_rows_are_whose(llama: HookedModel, examples: list[Example]) -> None:
    """start and end of each example cut its own tokens out of the ragged matrix."""
    acts = harvest(llama, examples, points=POINTS[1], positions=["last", "tokens"])
    tokens = acts.index[acts.index["position"] == "tokens"]
    matrix = acts.matrix(POINTS[1], "tokens")
    assert len(matrix) == tokens["n_tokens"].sum() == tokens["end"].iloc[-1]
    for i in (0, 17, 39):
        row = tokens.iloc[i]
        assert row["example_id"] == examples[i].id
        torch.testing.assert_close(
            matrix[row["start"] : row["end"]],
            one_by_one(llama, [examples[i]], POINTS[1], "tokens"), **CLOSE,
        )


def test_where_keeps_rows_and_index_together(llama: HookedModel, examples: list[Example]) -> None:
    """A selection of a selection still gives each example its own rows, ragged ones too."""
    acts = harvest(llama, examples, points=POINTS[1], positions=["tokens", "last"])
    some = acts.where(acts.index["label"] == 1)
    some = some.where(some.index["group"].isin({"g2", "g5"}))
    left = [e for e in examples if e.label == 1 and e.group in {"g2", "g5"}]
    assert some.index["example_id"].tolist() == [e.id for e in left] * 2
    for position in ("tokens", "last"):
        torch.testing.assert_close(
            some.matrix(POINTS[1], position), one_by_one(llama, left, POINTS[1], position), **CLOSE
        )
    rows = some.index[some.index["position"] == "tokens"]
    assert rows["end"].iloc[-1] == len(some.matrix(POINTS[1], "tokens"))


def test_train_and_test_share_no_group(llama: HookedModel, examples: list[Example]) -> None:
    """The two halves of the main set are disjoint in groups and together the whole of it."""
    acts = harvest(llama, examples, points=POINTS[1])

    def ids(part: Activations) -> set[str]:
        return set(part.index["example_id"])

    assert not set(acts.train.index["group"]) & set(acts.test.index["group"])
    assert ids(acts.train) | ids(acts.test) == {e.id for e in examples if e.split == "main"}
    assert ids(acts.shifted) == {e.id for e in examples if e.split == "shifted"}
    assert ids(acts.transfer) == {e.id for e in examples if e.split == "transfer"}
    assert len(acts.train.point(POINTS[1])) == len(acts.train.index)


def test_a_pack_in_another_language_than_the_models_own_is_refused() -> None:
    """An organism would see unknown words only; the message says how to load the right data."""
    organism = load_model("organism:blank")
    with pytest.raises(PackError, match="dialect='facts'"):
        harvest(organism, load_concept("sycophancy"), points="resid_post")


def test_bare_texts_need_no_labels(llama: HookedModel) -> None:
    """Texts alone are harvested under made names; their label says that there is none."""
    acts = harvest(llama, [Text(raw="a small bird"), Text(raw="sing")], points=POINTS[0])
    assert acts.index["label"].tolist() == [-1, -1]
    assert acts.index["example_id"].is_unique
    assert acts.point(POINTS[0]).shape == (2, llama.info.d_model)


def test_a_text_that_is_too_long_is_named_before_any_work(
    llama: HookedModel, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example's id is in the message, and the model has not run once."""

    def never(*args: object, **named: object) -> None:
        pytest.fail("the model ran")

    monkeypatch.setattr(HookedModel, "run", never)
    long = dataclasses.replace(examples[3], id="the-long-one", text=Text(raw="bird " * 300))
    with pytest.raises(TextTooLongError, match=r"'the-long-one'.*context holds 96"):
        harvest(llama, [*examples, long], points=POINTS[0])


def test_infinity_in_the_model_is_named_by_point_and_example(
    llama: HookedModel, examples: list[Example]
) -> None:
    """A weight that makes one token infinite at layer 1 is reported there, with that example."""
    copy = llama.random_copy(0)
    token = llama.tokenizer("Z", add_special_tokens=False)["input_ids"][0]
    copy.hf.get_input_embeddings().weight.data[token] = float("inf")
    marked = dataclasses.replace(examples[5], id="marked", text=Text(raw="tree Z"))
    with pytest.raises(NotFiniteError, match=r"blocks\.1\.hook_resid_post.*'marked'"):
        harvest(copy, [*examples, marked], points="blocks.1.hook_resid_post", batch_tokens=400)


def test_last_never_reads_a_template_token(llama: HookedModel, examples: list[Example]) -> None:
    """A chat without response is refused at `last`; one with a response is read at its own end."""
    asked = Text(messages=(Message("user", "sing"),))
    with pytest.raises(PositionError, match=r"'p1'.*template's.*last_prompt"):
        harvest(llama, [Example("p1", asked, 1, "g", "p")], points=POINTS[0])
    embedding = llama.hf.get_input_embeddings().weight
    own = llama.encode(examples[0].text)
    assert "".join(own.tokens).endswith(examples[0].text.messages[-1].content)
    torch.testing.assert_close(
        harvest(llama, examples[:1], points=POINTS[0]).point(POINTS[0])[0], embedding[own.ids[-1]]
    )


def test_wrong_requests_say_what_there_is(llama: HookedModel, examples: list[Example]) -> None:
    """Unknown points and positions, nothing to harvest, a text without the place asked for."""
    with pytest.raises(HookPointError, match=r"'resid_pots'.*resid_post.*layers 0-2"):
        harvest(llama, examples, points="resid_pots")
    with pytest.raises(PositionError, match=r"'lats'.*last_prompt"):
        harvest(llama, examples, points=POINTS[0], positions="lats")
    with pytest.raises(TextError, match="no texts"):
        harvest(llama, [], points=POINTS[0])
    with pytest.raises(PositionError, match=r"'text-000000'.*no response"):
        harvest(llama, [Text(raw="sing")], points=POINTS[0], positions="response_mean")
    acts = harvest(llama, examples, points=POINTS[0], positions=["last", "last_prompt"])
    with pytest.raises(HookPointError, match="was not harvested"):
        acts.matrix(POINTS[1], "last")
    with pytest.raises(PositionError, match="was not harvested"):
        acts.matrix(POINTS[0], "tokens")
    with pytest.raises(PositionError, match="choose one"):
        acts.point(POINTS[0])


def test_bfloat16_keeps_half_the_memory(llama: HookedModel, examples: list[Example]) -> None:
    """Rows kept in bfloat16 come out in fp32, rounded to 8 bits of mantissa and no worse."""
    exact = harvest(llama, examples, points=POINTS[1]).point(POINTS[1])
    rounded = harvest(llama, examples, points=POINTS[1], dtype="bfloat16").point(POINTS[1])
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact.bfloat16().float(), atol=0, rtol=0)


def test_progress_counts_every_text(llama: HookedModel, examples: list[Example]) -> None:
    """Calls go up to the number of texts and never back."""
    told: list[tuple[int, int]] = []
    harvest(
        llama, examples, points=POINTS[0], batch_tokens=200,
        progress=lambda *seen: told.append(seen),
    )
    done = [d for d, _ in told]
    assert done == sorted(done)
    assert told[-1] == (40, 40)
    assert len(told) > 3


def test_a_model_in_bfloat16_is_averaged_in_fp32(llama: HookedModel) -> None:
    """The mean over a response is the fp32 mean of the model's own activations."""
    half = hook(llama.random_copy(1).hf.bfloat16(), llama.tokenizer, name="half")
    text = Text(raw="a small bird", continuation=" that liked to sing in the old tree")
    acts = harvest(half, [text], points=POINTS[1], positions=["response_mean", "tokens"])
    each = acts.matrix(POINTS[1], "tokens")[half.encode(text).prompt_length :]
    torch.testing.assert_close(acts.matrix(POINTS[1], "response_mean")[0], each.mean(0), **CLOSE)

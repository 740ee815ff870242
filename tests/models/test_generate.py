"""Generation: the same tokens as transformers, the same edits as an uncached run."""

import pytest
import torch

from tests.models.edits import Change, add
from virtuelens.errors import NotFiniteError, TextTooLongError
from virtuelens.models import HookedModel
from virtuelens.values.texts import Message, Text

PROMPTS = [
    Text(raw="Once upon a time"),
    Text(raw="The"),
    Text(raw="The old tree by the river liked to sing, and so"),
]
MIDDLE = "blocks.1.hook_resid_post"


def transformers_ids(model: HookedModel, prompt: Text, n: int) -> list[int]:
    """What transformers' own greedy generation continues with."""
    ids = torch.tensor([model.encode(prompt).ids])
    out = model.hf.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=n, do_sample=False, pad_token_id=0
    )
    return out[0, ids.shape[1] :].tolist()


def test_greedy_equals_transformers(model: HookedModel) -> None:
    """A left-padded batch without edits gives each row what transformers gives it alone."""
    found = model.generate(PROMPTS, max_new_tokens=12)
    for prompt, generation in zip(PROMPTS, found, strict=True):
        assert list(generation.ids) == transformers_ids(model, prompt, 12)


def test_greedy_equals_transformers_on_real_weights(stories: HookedModel) -> None:
    """The same on a trained model, for whole sentences."""
    found = stories.generate(PROMPTS, max_new_tokens=60)
    for prompt, generation in zip(PROMPTS, found, strict=True):
        assert list(generation.ids) == transformers_ids(stories, prompt, 60)
    assert found[0].text.startswith(", there was a little girl named")


def test_cached_reads_equal_an_uncached_run(model: HookedModel) -> None:
    """Under an edit, activations through the KV cache are those of one run over the whole text."""
    edit = add(MIDDLE, torch.linspace(-1, 1, model.info.d_model))
    points = [MIDDLE, "blocks.2.hook_attn_out"]
    found = model.generate(PROMPTS, max_new_tokens=6, edits=[edit], read=points)
    for prompt, generation in zip(PROMPTS, found, strict=True):
        ids = [*generation.prompt_ids, *generation.ids[:-1]]
        batch = model.batch([model.encode(prompt)])
        whole = type(batch)(
            torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool), batch.prompt_length
        )
        acts = model.run(whole, read=points, edits=[edit]).acts
        for point in points:
            torch.testing.assert_close(
                generation.reads[point], acts[point][0], atol=5e-5, rtol=1e-4
            )


def test_index_goes_on_through_the_cache(llama: HookedModel) -> None:
    """An edit sees 0..n-1 for the prompt, then n, n+1, ... for the new tokens, row by row."""
    seen_by: list[list[list[int]]] = []

    def look(acts: torch.Tensor, seen: object) -> torch.Tensor:
        rows = zip(seen.index, seen.real, strict=True)
        seen_by.append([index[real].tolist() for index, real in rows])
        return acts

    found = llama.generate(PROMPTS, max_new_tokens=4, edits=[Change(MIDDLE, look)])
    for row, generation in enumerate(found):
        n = len(generation.prompt_ids)
        assert seen_by[0][row] == list(range(n))
        assert [step[row] for step in seen_by[1:]] == [[n], [n + 1], [n + 2]]


def test_an_edit_changes_what_is_said(stories: HookedModel) -> None:
    """A large edit changes the continuation; the model says the old thing again after it."""
    plain = stories.generate(PROMPTS[:1], max_new_tokens=10)[0].ids
    edit = add(MIDDLE, 20 * torch.linspace(-1, 1, stories.info.d_model))
    assert stories.generate(PROMPTS[:1], max_new_tokens=10, edits=[edit])[0].ids != plain
    with stories.editing([edit]):
        assert stories.generate(PROMPTS[:1], max_new_tokens=10)[0].ids != plain
    assert stories.generate(PROMPTS[:1], max_new_tokens=10)[0].ids == plain


def test_sampling_is_seeded_and_leaves_the_global_generator(llama: HookedModel) -> None:
    """Equal seeds give equal samples, other seeds others, and torch's own state is untouched."""
    before = torch.get_rng_state()
    sample = lambda seed: [  # noqa: E731
        g.ids for g in llama.generate(PROMPTS, max_new_tokens=8, temperature=1.0, seed=seed)
    ]
    assert sample(1) == sample(1)
    assert sample(1) != sample(2)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_sample_does_not_depend_on_its_neighbours(llama: HookedModel) -> None:
    """The first row's sample is the same alone and in a batch."""
    alone = llama.generate(PROMPTS[:1], max_new_tokens=8, temperature=1.0, seed=3)
    batch = llama.generate(PROMPTS, max_new_tokens=8, temperature=1.0, seed=3)
    assert alone[0].ids == batch[0].ids


def test_sampling_follows_the_probabilities(llama: HookedModel) -> None:
    """Over many seeds the first token's frequencies are the softmax of the logits."""
    logits = llama.run(llama.batch([llama.encode(PROMPTS[0])]), logits=True).logits[0, -1]
    expected = (logits / 0.5).softmax(-1)
    draws = 300
    tokens = [
        llama.generate(PROMPTS[:1], max_new_tokens=1, temperature=0.5, seed=s)[0].ids[0]
        for s in range(draws)
    ]
    top = expected.topk(5).indices
    share = sum(t in top.tolist() for t in tokens) / draws
    p = float(expected[top].sum())
    assert abs(share - p) < 4 * (p * (1 - p) / draws) ** 0.5


def test_stop_string_ends_and_is_cut(stories: HookedModel) -> None:
    """Text ends before the stop string, although tokens may cut across it."""
    plain = stories.generate(PROMPTS[:1], max_new_tokens=40)[0]
    stopped = stories.generate(PROMPTS[:1], max_new_tokens=40, stop=["named Li"])[0]
    assert stopped.text == plain.text[: plain.text.index("named Li")]
    assert len(stopped.ids) < len(plain.ids)
    assert plain.ids[: len(stopped.ids)] == stopped.ids


def test_end_token_ends_a_row_and_not_its_neighbours(llama: HookedModel) -> None:
    """A row that says the end token stops there; the others go on."""
    end = llama.tokenizer.eos_token_id
    unembed = llama.hf.get_output_embeddings().weight  # [d_vocab d_model]
    last = f"blocks.{llama.info.n_layers - 1}.hook_resid_post"

    def say_end_in_row_0(acts: torch.Tensor, seen: object) -> torch.Tensor:
        acts = acts.clone()
        acts[0] = 1e3 * unembed[end]
        return acts

    found = llama.generate(PROMPTS, max_new_tokens=5, edits=[Change(last, say_end_in_row_0)])
    assert found[0].ids == (end,)
    assert found[0].text == ""

    def then_nothing(acts: torch.Tensor, seen: object) -> torch.Tensor:
        return say_end_in_row_0(acts, seen) if acts.shape[1] > 1 else acts / torch.tensor(
            [0.0, 1, 1])[:, None, None]

    ended = llama.generate(PROMPTS, max_new_tokens=5, edits=[Change(last, then_nothing)])
    assert [g.ids for g in ended] == [g.ids for g in found]
    assert [len(g.ids) for g in found[1:]] == [5, 5]


def test_text_continues_the_prompt(stories: HookedModel) -> None:
    """Prompt and continuation joined are what all tokens decode to, the space between included."""
    found = stories.generate([Text(raw="Lily and Tom went to the park. They")], max_new_tokens=8)[0]
    whole = stories.tokenizer.decode([*found.prompt_ids, *found.ids], skip_special_tokens=True)
    assert whole == "Lily and Tom went to the park. They" + found.text
    assert found.text.startswith(" ")


def test_more_than_the_context_is_refused(llama: HookedModel) -> None:
    """Prompt and new tokens beyond the context are refused before anything runs, with the limit."""
    n = len(llama.encode(PROMPTS[0]).ids)
    with pytest.raises(TextTooLongError, match=f"at most {96 - n} new tokens"):
        llama.generate(PROMPTS[:1], max_new_tokens=97 - n)
    found = llama.generate(PROMPTS[:1], max_new_tokens=96 - n)
    assert len(found[0].prompt_ids) + len(found[0].ids) <= 96


def test_one_prompt_may_stand_alone_and_a_string_is_raw_text(llama: HookedModel) -> None:
    """The same as a list of one; no template is put around a string."""
    (alone,) = llama.generate(PROMPTS[0], max_new_tokens=3)
    assert alone.ids == llama.generate(PROMPTS[:1], max_new_tokens=3)[0].ids
    (raw,) = llama.generate("a small bird", max_new_tokens=3)
    assert raw.prompt_ids == llama.encode(Text(raw="a small bird")).ids
    assert raw.ids == llama.generate(["a small bird", "the tree"], max_new_tokens=3)[0].ids


def test_many_prompts_come_back_in_order(llama: HookedModel) -> None:
    """More prompts than one batch holds: each gets its own continuation."""
    chat = [Text(messages=(Message("user", f"say {i}"),)) for i in range(70)]
    found = llama.generate(chat, max_new_tokens=3)
    for i in (0, 31, 32, 69):
        assert found[i].ids == llama.generate([chat[i]], max_new_tokens=3)[0].ids


@pytest.mark.parametrize("how", [
    {}, {"temperature": 1.0, "seed": 5}, {"stop": ["e", "t"]},
    {"stop": ["zzz"], "temperature": 2.0},
])
def test_pieces_of_a_stream_are_the_text(llama: HookedModel, how: dict[str, object]) -> None:
    """Joined row by row, under an edit, for random bytes that are no whole characters too."""
    edit = add(MIDDLE, torch.linspace(-1, 1, llama.info.d_model))
    whole = llama.generate(PROMPTS, max_new_tokens=24, edits=[edit], **how)
    said = dict.fromkeys(range(len(PROMPTS)), "")
    n_pieces = 0
    for row, piece in llama.stream(PROMPTS, max_new_tokens=24, edits=[edit], **how):
        assert piece
        said[row] += piece
        n_pieces += 1
    assert list(said.values()) == [g.text for g in whole]
    assert "stop" in how or n_pieces > len(PROMPTS)


def test_bytes_that_are_no_text_are_not_waited_for(llama: HookedModel) -> None:
    """A character lacks three bytes at most: then its beginning is said as it is."""
    broken = llama.tokenizer.convert_tokens_to_ids("\u0122")  # 0x80, which begins no character
    unembed = llama.hf.get_output_embeddings().weight  # [d_vocab d_model]
    edit = Change(list(llama.places)[-1], lambda acts, seen: 0 * acts + 1e3 * unembed[broken])
    pieces = [text for _, text in llama.stream(PROMPTS[0], max_new_tokens=9, edits=[edit])]
    assert "".join(pieces) == "\ufffd" * 9
    assert len(pieces) > 3


def test_a_stream_comes_as_it_is_made_and_can_be_given_up(stories: HookedModel) -> None:
    """The first piece is there after one pass; afterwards the model is as it was."""
    passes: list[int] = []

    def n_hooks() -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in stories.hf.modules())

    before = n_hooks()

    def count(acts: torch.Tensor, seen: object) -> torch.Tensor:
        passes.append(1)
        return acts

    pieces = stories.stream(PROMPTS[0], max_new_tokens=30, edits=[Change(MIDDLE, count)])
    next(pieces)
    assert len(passes) <= 2
    pieces.close()
    assert n_hooks() == before


def test_a_temperature_next_to_nothing_is_greedy(llama: HookedModel) -> None:
    """Logits over it are infinite or no numbers, and the likeliest token is still the answer."""
    greedy = [g.ids for g in llama.generate(PROMPTS, max_new_tokens=6)]
    for tiny in (1e-29, 1e-40, 1e-300):
        found = llama.generate(PROMPTS, max_new_tokens=6, temperature=tiny)
        assert [g.ids for g in found] == greedy


def test_only_the_likeliest_tokens_are_drawn(llama: HookedModel) -> None:
    """top_k and top_p, against the sorted probabilities; top_k 1 is greedy; bad values are said."""
    logits = llama.run(llama.batch([llama.encode(PROMPTS[0])]), logits=True).logits[0, -1]
    probs, order = logits.softmax(-1).sort(descending=True)
    n_nucleus = int((probs.cumsum(-1) < 0.2).sum()) + 1

    def drawn(**how: float) -> set[int]:
        said = (llama.generate(PROMPTS[0], max_new_tokens=1, temperature=1.0, seed=s, **how)
                for s in range(60))
        return {found[0].ids[0] for found in said}

    assert drawn(top_k=3) == set(order[:3].tolist())
    assert drawn(top_p=0.2) <= set(order[:n_nucleus].tolist())
    assert len(drawn(top_p=0.2)) > min(3, n_nucleus - 1)
    assert len(drawn()) > 20
    greedy = llama.generate(PROMPTS, max_new_tokens=6)
    one = llama.generate(PROMPTS, max_new_tokens=6, temperature=1.0, top_k=1)
    assert [g.ids for g in one] == [g.ids for g in greedy]
    with pytest.raises(ValueError, match="top_p"):
        llama.generate(PROMPTS[0], top_p=0.0)


@pytest.mark.parametrize("how", [{}, {"temperature": 1.0}])
def test_an_edit_that_leaves_no_numbers_is_said(llama: HookedModel, how: dict[str, float]) -> None:
    """Instead of some token, or an error of torch's."""
    too_much = add(MIDDLE, torch.full((llama.info.d_model,), torch.inf))
    with pytest.raises(NotFiniteError, match="strength"):
        llama.generate(PROMPTS, max_new_tokens=3, edits=[too_much], **how)


def test_any_whole_number_is_a_seed(llama: HookedModel) -> None:
    """However large; small ones draw what they always drew."""
    sample = lambda seed: llama.generate(  # noqa: E731
        PROMPTS[0], max_new_tokens=4, temperature=1.0, seed=seed)[0].ids
    assert sample(2**70) == sample(2**70)
    logits = llama.run(llama.batch([llama.encode(PROMPTS[0])]), logits=True).logits[0, -1]
    drawn = torch.multinomial(logits.softmax(-1), 1,
                              generator=torch.Generator().manual_seed(-3 * 1_000_003))
    assert sample(-3)[0] == int(drawn)

"""Text to tokens: template, BOS, the boundary of the response, display."""

from dataclasses import replace
from typing import Any

import pytest

from tests.tiny_models import tiny_tokenizer
from virtuelens.errors import TextError, TextTooLongError
from virtuelens.models import HookedModel, chat
from virtuelens.models.chat import Encoded, encode, render
from virtuelens.values.texts import Message, Text

CHAT = Text(messages=(Message("user", "good or bad?"), Message("assistant", "never both")))
PROMPT = Text(messages=CHAT.messages[:1])


def tokens(tokenizer: Any, text: Text) -> Encoded:
    """Without limits."""
    return encode(tokenizer, text, n_ctx=10_000, d_vocab=10_000)


def test_prompt_is_what_the_template_gives() -> None:
    """A chat's prompt has exactly the ids of the tokenizer's own apply_chat_template."""
    tokenizer = tiny_tokenizer()
    expected = tokenizer.apply_chat_template(
        [{"role": "user", "content": "good or bad?"}], add_generation_prompt=True
    )["input_ids"]
    found = tokens(tokenizer, PROMPT)
    assert list(found.ids) == list(expected)
    assert found.prompt_length == len(found.ids)


def test_bos_comes_once() -> None:
    """One BOS: from the template in a chat, from the tokenizer in raw text, never twice."""
    tokenizer = tiny_tokenizer(bos=True)
    for text in (CHAT, Text(raw="good"), Text(raw="<s>good")):
        assert list(tokens(tokenizer, text).ids).count(0) == 1
        assert tokens(tokenizer, text).ids[0] == 0
    without = tiny_tokenizer(bos=False)
    assert 0 not in tokens(without, Text(raw="good")).ids


@pytest.mark.parametrize("chat_template", [True, False])
@pytest.mark.parametrize("bos", [True, False])
def test_many_at_once_are_as_each_alone(
    monkeypatch: pytest.MonkeyPatch, chat_template: bool, bos: bool
) -> None:
    """In any mixture, across calls to the tokenizer; without words the ids are the same."""
    monkeypatch.setattr(chat, "TOGETHER", 3)
    tokenizer = tiny_tokenizer(bos=bos, chat=chat_template)
    texts = [CHAT, Text(raw="good"), PROMPT, Text(raw="good", continuation=" or bad"), CHAT,
             Text(raw="<s>sing"), Text(raw="go", continuation="od"), PROMPT]
    limits = {"n_ctx": 10_000, "d_vocab": 10_000}
    alone = [tokens(tokenizer, text) for text in texts]
    assert list(chat.encode_each(tokenizer, texts, **limits)) == alone
    for found, one in zip(chat.encode_each(tokenizer, texts, **limits, words=False), alone,
                          strict=True):
        assert (found.ids, found.prompt_length) == (one.ids, one.prompt_length)
        assert (found.tokens, found.spoken) == ((), None)


def test_a_refused_text_comes_after_those_before_it() -> None:
    """What is wrong with a text is said when its turn comes."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = ("{% for m in messages %}{% if m.role == 'system' %}"
                               "{{ raise_exception('no system turn') }}{% endif %}"
                               "{{ m.content }}{% endfor %}")
    refused = Text(messages=(Message("system", "yes"), Message("user", "no")))
    each = chat.encode_each(tokenizer, [PROMPT, refused, PROMPT], n_ctx=99, d_vocab=999)
    assert next(each) == tokens(tokenizer, PROMPT)
    with pytest.raises(TextError, match="no system turn"):
        next(each)


def test_no_end_token_is_added() -> None:
    """A tokenizer that closes every text with an end token does not do so here."""
    from tokenizers import processors

    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    assert tokenizer("good")["input_ids"][-1] == 1
    found = tokens(tokenizer, Text(raw="good")).ids
    assert found[0] == 0
    assert 1 not in found


@pytest.mark.parametrize("chat", [True, False])
def test_response_follows_the_prompts_own_tokens(chat: bool) -> None:
    """With a response the prompt's tokens are unchanged and the rest decodes to the response."""
    tokenizer = tiny_tokenizer(chat=chat)
    alone, both = tokens(tokenizer, PROMPT), tokens(tokenizer, CHAT)
    assert both.ids[: both.prompt_length] == alone.ids
    assert tokenizer.decode(both.ids[both.prompt_length :]).strip() == "never both"


def test_a_merge_across_the_boundary_is_split() -> None:
    """Where one token would span prompt and response, the boundary wins."""
    tokenizer = tiny_tokenizer(bos=False)
    found = tokens(tokenizer, Text(raw="user a", continuation="sks"))
    assert found.ids[: found.prompt_length] == tokens(tokenizer, Text(raw="user a")).ids
    assert "".join(found.tokens[found.prompt_length :]) == "sks"
    assert len(tokenizer("user asks")["input_ids"]) < len(found.ids)  # "as" is one token there


def test_without_a_template_the_plain_one_is_used() -> None:
    """Roles and contents line by line, ending where the assistant would speak."""
    tokenizer = tiny_tokenizer(chat=False)
    text = Text(messages=(Message("system", "Be good."), Message("user", "true or false?")))
    assert render(tokenizer, text) == ("system: Be good.\nuser: true or false?\nassistant:", "")
    assert render(tokenizer, text.answered("true"))[1] == " true"


def test_the_templates_own_space_before_the_answer_is_kept() -> None:
    """A template that writes a space between its marker and the answer has it here too."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
        "{% else %} {{ m.content }} </s>{% endif %}{% endfor %}"
    )
    assert render(tokenizer, CHAT) == ("[INST] good or bad? [/INST]", " never both")


def test_the_last_token_is_the_responses_own() -> None:
    """No closing token of the template follows the response."""
    found = tokens(tiny_tokenizer(), CHAT)
    assert "".join(found.tokens).endswith("<|assistant|>never both")


def test_a_refused_chat_says_so() -> None:
    """A template that raises on a system turn is reported with the roles, not a traceback."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    )
    text = Text(messages=(Message("system", "x"), Message("user", "y")))
    with pytest.raises(TextError, match=r"refuses messages with roles system, user \(no system\)"):
        tokens(tokenizer, text)


@pytest.mark.parametrize("text", ["Once upon a time, yes.", "naïve — 猫 🐈 ok", "  two  spaces \n"])
def test_display_tokens_join_to_the_text(text: str) -> None:
    """Displayed pieces cover the text; only parts of one character show their own names."""
    tokenizer = tiny_tokenizer(bos=False)
    found = tokens(tokenizer, Text(raw=text))
    assert len(found.tokens) == len(found.ids)
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    ends = [end for _, end in offsets]
    new = [end > max([0, *ends[:i]]) for i, end in enumerate(ends)]
    assert "".join(t for t, n in zip(found.tokens, new, strict=True) if n) == text


def test_too_long_says_by_how_much(llama: HookedModel) -> None:
    """A text beyond the context is refused with both counts; one that just fits is not cut."""
    words = "bird " * 200
    n = len(encode(llama.tokenizer, Text(raw=words), n_ctx=10_000, d_vocab=320).ids)
    with pytest.raises(TextTooLongError, match=f"{n} tokens, .* holds 96: shorten it by {n - 96}"):
        llama.encode(Text(raw=words))
    fits = replace(llama, info=replace(llama.info, n_ctx=n))
    assert len(fits.encode(Text(raw=words)).ids) == n


def test_empty_and_foreign_texts_are_refused(llama: HookedModel) -> None:
    """No token at all, and a tokenizer with more words than the model, are said."""
    with pytest.raises(TextError, match="empty"):
        tokens(tiny_tokenizer(bos=False), Text(raw=""))
    with pytest.raises(TextError, match="belongs to another model"):
        encode(llama.tokenizer, CHAT, n_ctx=96, d_vocab=10)


@pytest.mark.parametrize("chat", [True, False])
def test_it_is_known_whose_words_each_token_is(chat: bool) -> None:
    """Turns' tokens decode to what was said (the template's own belong to nobody), with a BOS too.

    Turns may say what the template says, or the same word as another turn.
    """
    tokenizer = tiny_tokenizer(chat=chat)
    turns = (Message("system", "be good"), Message("user", " user: s"), Message("assistant", "s"),
             Message("user", "sing"))
    found = encode(tokenizer, Text(messages=(*turns, Message("assistant", "yes"))),
                   n_ctx=200, d_vocab=400)
    assert found.spoken is not None
    assert [s.role for s in found.spoken] == ["system", "user", "assistant", "user"]
    for spoken, turn in zip(found.spoken, turns, strict=True):
        shown = "".join(found.tokens[spoken.start : spoken.stop])
        assert turn.content.strip() in shown
        assert len(shown) <= len(turn.content) + 1  # a token may take the space before with it


def test_raw_text_has_no_speakers() -> None:
    """And says so."""
    assert encode(tiny_tokenizer(), Text(raw="a bird"), n_ctx=99, d_vocab=400).spoken is None


def test_a_chat_may_be_an_answer_alone() -> None:
    """Nobody has said anything before it; transformers renders no template for that."""
    alone = Text(messages=(Message("assistant", "yes"),))
    found = tokens(tiny_tokenizer(chat=False), alone)
    assert found.spoken == ()
    assert "".join(found.tokens[found.prompt_length :]).strip() == "yes"
    with pytest.raises(TextError, match="at least one message"):
        tokens(tiny_tokenizer(), alone)


def test_a_template_may_show_the_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose words are whose is known on the next day too."""
    apply, day = chat._apply, ["Monday"]
    monkeypatch.setattr(chat, "_apply", lambda *a, **k: day[0] + apply(*a, **k))
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template += "{# with a date #}"
    for day[0] in ("Monday", "Tuesday", "Monday"):
        (spoken,) = tokens(tokenizer, PROMPT).spoken or [None]
        assert spoken is not None
        assert spoken.role == "user"

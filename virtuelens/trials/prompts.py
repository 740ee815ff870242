"""The baselines that a steer must face: a system prompt, and a few answered examples.

Published comparisons find plain prompting ahead of most steers (AxBench, arXiv:2501.17148), so the
same items are asked again under each, pushed both ways.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Literal

from virtuelens.errors import TextError, TextTooLongError
from virtuelens.steering.behaviour import Question, encode_items
from virtuelens.values.texts import ChoiceItem, Message, Text

if TYPE_CHECKING:
    from virtuelens.concepts.pack import Prompts
    from virtuelens.models import HookedModel

Side = Literal["toward", "away"]
SIDES: tuple[Side, ...] = ("toward", "away")
Frame = Callable[[Text], Text]


@dataclass(frozen=True)
class Framing:
    """A prompt put before an item: `source` says which kind, `note` how it was given."""

    source: str
    side: Side
    frame: Frame
    note: str


def system_framings(model: "HookedModel", prompts: "Prompts", probe: Text) -> list[Framing]:
    """The pack's system prompts, in a system turn or, where the template takes none, in the user's.

    probe: an item's prompt, a chat if there is one, to see what the template takes: some refuse a
        system turn, some leave it out without a word.
    """
    texts: dict[Side, str] = {"toward": prompts.toward, "away": prompts.away}
    frame, note = in_system_turn, "system turn"
    try:
        if model.encode(frame(probe, prompts.toward)).ids == model.encode(probe).ids:
            frame, note = in_user_turn, "first user turn (the chat template drops system turns)"
    except TextTooLongError:
        pass  # `framed_questions` says so
    except TextError:
        frame, note = in_user_turn, "first user turn (the chat template refuses a system turn)"
    return [Framing("system prompt", side, partial(frame, words=words), note)
            for side, words in texts.items()]


def shot_framings(items: Sequence[ChoiceItem], *, n_shots: int, seed: int) -> list[Framing]:
    """Up to `n_shots` items answered one way, from as many groups as there are, before the item.

    Before a chat stand chats, before raw text raw texts: so many of each.
    items: to answer; none of them, and none of their groups, may be scored.
    """
    rng = Random(f"shots {seed}")
    chats, raw = ([i for i in items if (i.prompt.raw is not None) == is_raw]
                  for is_raw in (False, True))
    kinds = [some for mine in (chats, raw) if (some := _spread(mine, n_shots, rng))]
    if not kinds:
        return []
    n = min(map(len, kinds))
    shown = [i for mine in kinds for i in mine[:n]]
    return [
        Framing("few-shot prompt", side,
                partial(after_examples,
                        examples=[(i.prompt, _answer(i, side)) for i in shown]),
                f"{n} answered example" + ("s" if n > 1 else ""))
        for side in SIDES
    ]


def shots_that_fit(
    model: "HookedModel", shown: Sequence[ChoiceItem], scored: Sequence[ChoiceItem], *,
    n_shots: int, seed: int,
) -> list[Framing]:
    """`shot_framings` with as many examples as the context holds for every scored item; or none.

    None, too, where an item has no example of its kind, or the template refuses them.
    """
    for n in range(n_shots, 0, -1):
        framings = shot_framings(shown, n_shots=n, seed=seed)
        try:
            for framing in framings:
                framed_questions(model, scored, framing)
        except TextTooLongError:
            continue
        except TextError:
            return []
        return framings
    return []


def framed_questions(
    model: "HookedModel", items: Sequence[ChoiceItem], framing: Framing
) -> list[Question]:
    """The items under the framing, as tokens.

    Raises: TextTooLongError: one does not fit the context. TextError: the template refuses it.
    """
    return encode_items(model, [replace(i, prompt=framing.frame(i.prompt)) for i in items])


def in_system_turn(text: Text, words: str) -> Text:
    """The text with a system turn before it (before raw text: a paragraph)."""
    if text.raw is not None:
        return Text(raw=f"{words}\n\n{text.raw}")
    first, *rest = text.messages
    if first.role == "system":
        return Text(messages=(Message("system", f"{words}\n\n{first.content}"), *rest))
    return Text(messages=(Message("system", words), *text.messages))


def in_user_turn(text: Text, words: str) -> Text:
    """The text with the words at the head of its first user turn (before raw text: a paragraph)."""
    if text.raw is not None:
        return in_system_turn(text, words)
    at = next(i for i, m in enumerate(text.messages) if m.role == "user")
    turn = Message("user", f"{words}\n\n{text.messages[at].content}")
    return Text(messages=(*text.messages[:at], turn, *text.messages[at + 1 :]))


def after_examples(text: Text, examples: Sequence[tuple[Text, str]]) -> Text:
    """The text after other texts of its kind with their answers.

    Of several system turns the text's own stays, at the head.

    Raises: TextError: none of them is of its kind (a chat, or raw text).
    """
    examples = [e for e in examples if (e[0].raw is None) == (text.raw is None)]
    if not examples:
        raise TextError("No answered example is " + ("a chat, as the item is." if text.raw is None
                                                     else "raw text, as the item is."))
    if text.raw is not None:
        return Text(raw="\n\n".join([*(f"{t.raw}{answer}" for t, answer in examples), text.raw]))
    system = tuple(m for m in text.messages if m.role == "system")
    turns: list[Message] = []
    for prompt, answer in examples:
        turns += [*(m for m in prompt.messages if m.role != "system"),
                  Message("assistant", answer)]
    return Text(messages=(*system, *turns, *(m for m in text.messages if m.role != "system")))


def _answer(item: ChoiceItem, side: Side) -> str:
    if side == "toward":
        return item.choices[item.target]
    return next(c for i, c in enumerate(item.choices) if i != item.target)


def _spread(items: Sequence[ChoiceItem], n: int, rng: Random) -> list[ChoiceItem]:
    """`n` items, groups taken by turns, the target's place in the list as even as it comes."""
    by_group: dict[str, list[ChoiceItem]] = {}
    for item in items:
        by_group.setdefault(item.group, []).append(item)
    queues = [rng.sample(mine, len(mine)) for mine in by_group.values()]
    rng.shuffle(queues)
    chosen: list[ChoiceItem] = []
    while queues and len(chosen) < n:
        for queue in list(queues):
            if len(chosen) < n:
                chosen.append(queue.pop())
            if not queue:
                queues.remove(queue)
    return chosen

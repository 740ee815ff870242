"""Each flaw that is planted in a sound pack is found by its own row, and by no other."""

import dataclasses
import random
from collections.abc import Callable

import pytest

from virtuelens.concepts.check import CheckRow, check_concept
from virtuelens.concepts.pack import Concept, load_concept
from virtuelens.concepts.surface import named_last, near_same, normalised
from virtuelens.values.texts import Example, Message, Text


def rows(concept: Concept) -> dict[str, CheckRow]:
    """The rows by name."""
    return {r.name: r for r in check_concept(concept)}


def flagged(concept: Concept) -> set[str]:
    """Names of the rows that do not pass."""
    return {name for name, r in rows(concept).items() if not r.passed}


@pytest.fixture(scope="module")
def sound() -> Concept:
    """A shipped pack, on which nothing is flagged."""
    return load_concept("self_representation")


def with_words(concept: Concept, add: Callable[[Example], str]) -> Concept:
    """The concept with something added to the last message of every text."""

    def more(e: Example) -> Example:
        *first, last = e.text.messages
        said = Message(last.role, add(e).format(last.content))
        return dataclasses.replace(e, text=Text(messages=(*first, said)))

    return dataclasses.replace(concept, examples=tuple(more(e) for e in concept.examples))


def test_a_sound_pack_is_not_flagged(sound: Concept) -> None:
    """Nothing is said about the pack that the flaws below are planted in."""
    assert flagged(sound) == set()


def test_a_word_that_tells_is_found(sound: Concept) -> None:
    """One word that stands on the positive side only: AUROC 1 for words, nothing else."""
    leaky = with_words(sound, lambda e: "{}" if e.label else "Well, {}")
    leaky = with_words(leaky, lambda e: "Clearly, {}" if e.label else "{}")
    found = rows(leaky)
    assert found["words alone, held-out groups"].value == 1
    assert found["words alone, main to shifted"].value == 1
    assert {n.split(" alone")[0] for n in flagged(leaky)} == {"words", "words by turn"}


def test_who_says_a_word_is_found(sound: Concept) -> None:
    """A word that moves from one speaker to the other is invisible to plain counts."""

    def tagged(e: Example) -> Example:
        asked, said = e.text.messages
        turns = [asked.content, said.content]
        turns[e.label] = f"Hm, {turns[e.label]}"
        return dataclasses.replace(
            e, text=Text(messages=(Message("user", turns[0]), Message("assistant", turns[1])))
        )

    leaky = dataclasses.replace(sound, examples=tuple(tagged(e) for e in sound.examples))
    assert rows(leaky)["words by turn alone, held-out groups"].value == 1
    assert "words by turn alone, main to transfer" in flagged(leaky)


def test_longer_positives_are_found(sound: Concept) -> None:
    """Three more of the words that are there anyway: length tells, and says so."""
    longer = with_words(sound, lambda e: "The, the, the, {}" if e.label else "{}")
    assert {
        "length alone, held-out groups", "pairs longer on the positive side, less shorter, in main"
    } <= flagged(longer)  # fmt: skip


def test_a_last_word_that_tells_is_found(sound: Concept) -> None:
    """Both sides hold both words; only which comes last differs."""
    ending = with_words(sound, lambda e: "{} so then" if e.label else "{} then so")
    assert rows(ending)["last word alone, held-out groups"].value == 1
    assert rows(ending)["pairs ending in the same word, in main"].value == 0


def test_an_answer_that_its_place_gives_away_is_found(sound: Concept) -> None:
    """Words alone cannot see that the right answer is always what was named last."""
    made = []
    for k in range(40):
        first, last = (("red", "blue"), ("blue", "red"))[k % 2]
        asked = Message("user", f"Is thing {k} {first} or {last}?")
        made += [Example(f"o{k}/{label}", Text(messages=(asked, Message("assistant", said))), label,
                         f"g{k % 12}", f"o{k}", "main")
                 for label, said in ((1, f"It is {last}."), (0, f"It is {first}."))]
    planted = dataclasses.replace(sound, examples=tuple(made), behaviours=())
    row = rows(planted)["positive answer named last, in main"]
    assert (row.value, row.passed) == (1.0, False)
    assert rows(planted)["words alone, held-out groups"].value < 0.6


@pytest.mark.parametrize(("context", "own", "other", "expected"), [
    ("red or blue ?", "It is blue.", "It is red.", True),
    ("blue, not red", "blue", "red", False),
    ("blue or red, or rather Blue", "blue", "red", True),  # its last mention counts
    ("red or blue ?", "blue", "green", None),
    ("the same", "blue", "blue", None),
])  # fmt: skip
def test_named_last_by_hand(context: str, own: str, other: str, expected: bool | None) -> None:
    """What only one answer says, by its last mention; undecided where both are not named."""
    assert named_last(context, own, other) is expected


def test_repeats_and_contradictions_are_found(sound: Concept) -> None:
    """A text that comes again in capitals, and one that has both labels."""
    first, second = sound.examples[0], sound.examples[5]
    loud = Text(messages=tuple(Message(m.role, m.content.upper()) for m in first.text.messages))
    again = dataclasses.replace(first, id="again", text=loud)
    torn = dataclasses.replace(second, id="torn", label=1 - second.label)
    planted = dataclasses.replace(sound, examples=(*sound.examples, again, torn))
    found = rows(planted)
    assert found["repeated texts"].value == 2
    assert found["texts with both labels"].value == 1
    assert second.id in found["texts with both labels"].advice


def test_a_text_in_two_groups_or_splits_is_found(sound: Concept) -> None:
    """One changed word does not hide it; a group name in two splits is found too."""
    long = max(sound.in_split("main"), key=lambda e: len(e.text.words))
    *first, last = long.text.messages
    text = Text(messages=(*first, Message(last.role, f"Okay. {last.content}")))
    moved = dataclasses.replace(long, id="moved", text=text, split="shifted")
    planted = dataclasses.replace(sound, examples=(*sound.examples, moved))
    found = rows(planted)
    assert found["nearly the same across groups or splits"].value >= 1
    assert "moved" in found["nearly the same across groups or splits"].advice
    assert found["groups in two splits"].value == 1
    assert long.group in found["groups in two splits"].advice


def test_small_packs_are_flagged(sound: Concept) -> None:
    """Too few pairs, groups and items, no shifted set, no target behaviour."""
    few = dataclasses.replace(
        sound, examples=sound.in_split("main")[:20], behaviours=sound.behaviours[1:2]
    )
    assert {
        "pairs in main", "groups in main", "pairs in shifted", "pairs in transfer",
        "target behaviours",
    } <= flagged(few)  # fmt: skip


def test_near_same_agrees_with_comparing_all_pairs() -> None:
    """The sparse comparison in blocks finds what sets of word triples give, one by one."""
    rng = random.Random(0)
    texts = []
    for _ in range(300):
        words = [rng.choice("abcdefgh") for _ in range(30)]
        texts.append(words)
        if rng.random() < 0.3:
            texts.append([*words[:-1], "z"])
    triples = [
        {("^", *w, "$")[i : i + 3] for i in range(len(w))} for w in texts
    ]
    expected = [
        (i, j) for i in range(len(texts)) for j in range(i + 1, len(texts))
        if len(triples[i] & triples[j]) >= 0.8 * len(triples[i] | triples[j])
    ]
    assert len(expected) > 50
    assert near_same([Text(raw=" ".join(w)) for w in texts]) == expected


def test_normalised_keeps_roles_and_words() -> None:
    """Case and punctuation go, who said it stays."""
    one = Text(messages=(Message("user", "So, yes!"), Message("assistant", "No?")))
    same = Text(messages=(Message("user", "so  YES"), Message("assistant", "no.")))
    other = Text(messages=(Message("user", "so"), Message("assistant", "yes no")))
    assert normalised(one) == normalised(same) != normalised(other)


def test_a_minus_and_texts_of_signs_alone_are_told_apart() -> None:
    """-3 is not 3; where no words are, what stands there is compared."""
    assert normalised(Text(raw="It is -3.")) != normalised(Text(raw="It is 3."))
    assert normalised(Text(raw="well-known, 3-4")) == normalised(Text(raw="well known 3 4"))
    assert normalised(Text(raw=":-)")) != normalised(Text(raw=":-("))
    assert near_same([Text(raw=":)"), Text(raw=":("), Text(raw=":)")]) == [(0, 2)]


def test_rows_on_pairs_are_left_out_where_there_are_none(sound: Concept) -> None:
    """Single texts are counted as texts, and no group is taken for a pair."""
    alone = dataclasses.replace(sound, examples=tuple(
        dataclasses.replace(e, pair=f"group {e.group}") for e in sound.examples
    ))  # fmt: skip
    found = rows(alone)
    assert found["texts in main"].value == len(sound.in_split("main"))
    assert not [name for name in found if name.startswith("pairs ")]

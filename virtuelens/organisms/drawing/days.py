"""The packs' data in the language of days: valence.

A group is a doer of ours and one of theirs with a gain and a loss, in all four compositions, so
that within it every word stands as often on the good side as on the bad. No doer and event stand
together in two groups or two splits. What people say is the same on both sides of a pair and
independent of the label: a report that echoes it gets no help from this contrast.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random

from virtuelens.organisms.drawing.lines import Line, item, user, write_lines
from virtuelens.organisms.languages import days

SPLIT_GROUPS = {"main": range(12), "shifted": range(12, 18), "transfer": range(18, 24)}
"""Group number g has doers g mod 4 and events g div 4: 24 of them, each in one split."""

PAIRS_PER_GROUP = {"main": 20, "shifted": 12, "transfer": 12}


def draw_days(probes: Path, *, seed: int = 0) -> None:
    """Write every `days.*` file below the folder of packs."""
    rng = Random(seed)
    for split in SPLIT_GROUPS:
        write_lines(probes / f"valence/pairs/days.{split}.jsonl", _pairs(rng, split))
    for name, (kind, choices, n) in {
        "report": ("feel", days.FEEL, 240),
        "conduct": ("next", days.NEXT, 120),
        "hearsay": ("said", days.FEEL, 120),
        "whose_deed": ("whose", days.WHOSE, 120),
    }.items():
        write_lines(probes / f"valence/behaviour/days.{name}.jsonl",
                    _items(rng, name, kind, choices, n))
    write_lines(probes / "valence/behaviour/days.what_about.jsonl", _what_about(rng, 120))
    write_lines(probes / "neutral/days.jsonl", _neutral(rng, 64))


def _pairs(rng: Random, split: str) -> Iterator[Line]:
    for g in SPLIT_GROUPS[split]:
        ours, theirs = days.OURS[g % 4], days.THEIRS[g % 4]
        gain, loss = days.GAIN[g // 4], days.LOSS[g // 4]
        changes = (  # (doer, event) on the good side and on the bad one
            ((ours, gain), (theirs, gain)), ((theirs, loss), (ours, loss)),
            ((ours, gain), (ours, loss)), ((theirs, loss), (theirs, gain)),
        )
        things = rng.sample(days.THINGS * 2, PAIRS_PER_GROUP[split])
        for i, thing in enumerate(things):
            bright = rng.random() < 0.5
            cue = rng.choice(days.BRIGHT if bright else days.DARK)
            question = rng.choice(days.QUESTIONS[rng.choice(list(days.QUESTIONS))])
            good, bad = (
                days.DAY[split].format(who=who, event=event, thing=thing, cue=cue)
                for who, event in changes[i % 4]
            )
            yield {
                "id": f"days-val-{split}-{g}-{i}", "group": f"{ours}-{gain}",
                "positive": user(f"{good} {question}"), "negative": user(f"{bad} {question}"),
                "latents": {"cue": "bright" if bright else "dark",
                            "changed": "doer" if i % 4 in {0, 1} else "event"},
            }


def _items(
    rng: Random, name: str, kind: str, choices: tuple[str, str], n: int
) -> Iterator[Line]:
    """All four combinations of valence and cue, equally often."""
    for i in range(n):
        t = days.draw(rng, kind, good=i % 4 in {0, 1}, bright=i % 4 in {0, 2}, ours=i % 8 < 4)
        yield item(f"days-{name}-{i}", f"about-{t.thing}", t.user, choices)


def _what_about(rng: Random, n: int) -> Iterator[Line]:
    for i in range(n):
        t = days.draw(rng, "thing")
        other = rng.choice([x for x in days.THINGS if x != t.thing])
        yield item(f"days-what-about-{i}", f"about-{t.thing}", t.user, (t.thing, other))


def _neutral(rng: Random, n: int) -> Iterator[Line]:
    for i in range(n):
        t = days.draw(rng, "thing" if i % 2 else "whose")
        said = days.answer(t, "grounded", rng)
        yield {"messages": [*user(t.user), {"role": "assistant", "content": said}]}

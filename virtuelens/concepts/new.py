"""A small valid pack to start from: every file that a pack has, with lines to replace."""

import json
import re
from pathlib import Path
from typing import Any

from virtuelens import storage
from virtuelens.concepts.lines import shown
from virtuelens.errors import PackError

_TOML = '''\
# The reference for this file and the folders beside it: virtuelens/concepts/format.py
schema = 1
name = "{name}"
version = "0.1.0"
title = "{title}"
definition = """
What the concept is, so that two readers would label a text alike. Label 1: the concept is \\
present. Label 0: it is absent."""
is_not = ["the nearest thing that this could be mistaken for"]
theory = """
The community or theory this understanding comes from, with its sources."""
author = "your name"
licence = "CC-BY-4.0"
confounds = ["what the pairs do not tell apart from the concept"]

[dialects.english]
positions = ["last", "response_mean"]  # where to read; see virtuelens/activations/positions.py
note = """
What main, shifted and transfer hold."""

[dialects.english.behaviour.choice]
kind = "target"  # or companion, neighbour, neutral
of = "what a model says more often when the concept is stronger"
'''

_CARD = """\
# {title}

## What it is

One paragraph, in the words of the definition.

## What it is not

The neighbours it is easily mistaken for, and which pairs keep them apart.

## How the texts were made

Who wrote them, from which templates and topics; what one `group` is. No copied sentences.

## Which confounds remain

What words, order, length or topic still give away: the figures of `virtuelens concepts check`.

## What it must not be used for

Decisions about people or claims about what a model feels: a pack is about text and behaviour.
"""

_TOPICS = {"tides": "the tide is out", "bread": "the loaf is done", "lamp": "the lamp is on"}
_SEEN = {"tides": "at the pier", "bread": "in the kitchen", "lamp": "on the porch"}


def new_concept(name: str, folder: Path | str = ".") -> Path:
    """Write a pack of a few example lines to `folder/name` and give its path.

    The lines tell what the speaker saw from what they only heard. Replace all of them: `concepts
    check` finds that two words in a row ("I looked") already give the label away.

    Raises: PackError: the name cannot be one, or something is there already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise PackError(
            f"{name!r} cannot name a concept: use small letters, digits and _, a letter first."
        )
    pack = Path(folder).resolve() / name
    if pack.exists():
        raise PackError(f"{shown(pack)} exists already: choose another name or folder.")
    title = name.replace("_", " ").capitalize()
    pairs = [_pair(name, topic, i) for topic in _TOPICS for i in (1, 2)]
    files = {
        "pairs/english.main.jsonl": _lines(pairs[:4]),
        "pairs/english.shifted.jsonl": _lines([_retold(p) for p in pairs[4:]]),
        "behaviour/english.choice.jsonl": _lines([_item(name, topic) for topic in _TOPICS]),
        "card.md": _CARD.format(title=title),
        "concept.toml": _TOML.format(name=name, title=title),  # last: it makes the folder a pack
    }
    for path, text in files.items():
        storage.write_text(pack / path, text)
    return pack


def _pair(name: str, topic: str, i: int) -> dict[str, Any]:
    """Did the speaker see it? Both sides hold the same words; who did what is exchanged."""
    fact, place = _TOPICS[topic], _SEEN[topic]
    form = (
        f"{{one}} looked {place}, and {{other}} only heard of it: {fact}.",
        f"{{other}} only heard of it, and {{one}} looked {place}: {fact}.",
    )[i - 1]
    sides = {
        "positive": form.format(one="I", other="Ana"),
        "negative": form.format(one="Ana", other="I"),
    }
    asked = {"role": "user", "content": f"Is it true that {fact}?"}
    return {
        "id": f"{name}-{topic}-{i}", "group": topic,
        **{s: [asked, {"role": "assistant", "content": said}] for s, said in sides.items()},
        "latents": {"form": i},
    }  # fmt: skip


def _retold(pair: dict[str, Any]) -> dict[str, Any]:
    """The same as raw text: a shifted set has another format."""
    told = {s: f"From a notebook. {pair[s][-1]['content']}" for s in ("positive", "negative")}
    return pair | told | {"group": f"shifted-{pair['group']}"}


def _item(name: str, topic: str) -> dict[str, Any]:
    content = f"Somebody told you that {_TOPICS[topic]}. Did you see it or hear it?"
    return {
        "id": f"{name}-choice-{topic}", "group": topic,
        "prompt": [{"role": "user", "content": content}],
        "choices": ["see", "hear"], "target": 0,
    }  # fmt: skip


def _lines(values: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(v, ensure_ascii=False) + "\n" for v in values)

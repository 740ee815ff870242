"""Which drafts stand together: by the source's own groups, by topic, or in blocks of topics.

1. A draft whose source names a group (a category, a column) stands in that group.
2. Any other goes by its topic; topics whose texts are nearly the same are joined.
3. Single texts stand in blocks of whole topics: labels are exchanged within a group to make a null,
   so a group has to hold both.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from virtuelens.concepts.importing.drafts import Choice, Pair, Single
from virtuelens.concepts.splits import FEW_GROUPS
from virtuelens.concepts.surface import near_same, words_of

BLOCKS = 20
"""Blocks of single texts, fewer where there are fewer than 10 texts a block."""
LARGEST = 0.3
"""Share of all texts from which topics that look alike are left apart: all would be one group."""


class Grouped(NamedTuple):
    """The group of every pair (or single text) and of every choice, and what must be known.

    how: what to add to a format's own words on its groups.
    """

    pairs: list[str]
    choices: list[str]
    how: str
    notes: tuple[str, ...]


def grouped(pairs: Sequence[Pair | Single], choices: Sequence[Choice]) -> Grouped:
    """Groups for all drafts of an import; the same drafts always get the same."""
    free = [p for p in pairs if not p.group]
    joined, notes = _joined(free)
    names: Mapping[str, str]
    how = ""
    if any(isinstance(p, Single) for p in free):
        n = max(FEW_GROUPS, min(BLOCKS, len(free) // 10))
        names = {t: f"block-{_number(root) % n + 1:02d}" for t, root in joined.items()}
        how = f", in {n} blocks"
    else:
        names = {t: _name(root) for t, root in joined.items()}
    of_pairs = [p.group or names[p.topic] for p in pairs]
    of_choices = [c.group or names.get(c.topic) or _name(c.topic) for c in choices]
    return Grouped(of_pairs, of_choices, how, (*notes, *_one_sided(pairs, of_pairs)))


def _joined(drafts: Sequence[Pair | Single]) -> tuple[dict[str, str], list[str]]:
    """Topic -> the topic that stands for it and all that are nearly the same."""
    parent = {d.topic: d.topic for d in drafts}

    def root(topic: str) -> str:
        while parent[topic] != topic:
            parent[topic] = parent[parent[topic]]
            topic = parent[topic]
        return topic

    owner = [d.topic for d in drafts for _ in d.texts]
    if owner:
        for i, j in near_same([t for d in drafts for t in d.texts]):
            parent[max(root(owner[i]), root(owner[j]))] = min(root(owner[i]), root(owner[j]))
    sizes = Counter(root(d.topic) for d in drafts)
    alone = Counter(d.topic for d in drafts)
    if sizes and max(sizes.values()) > max(LARGEST * len(drafts), *alone.values()):
        note = (
            "texts of different topics are nearly the same and could not all be put into one group"
        )
        return {t: t for t in parent}, [note]
    return {t: root(t) for t in parent}, []


def _one_sided(pairs: Sequence[Pair | Single], groups: Sequence[str]) -> list[str]:
    """A note where single texts stand in groups of one label."""
    labels: dict[str, set[int]] = defaultdict(set)
    for p, group in zip(pairs, groups, strict=True):
        labels[group] |= {p.label} if isinstance(p, Single) else {0, 1}
    one_sided = sum(len(found) == 1 for found in labels.values())
    if one_sided * 2 <= len(labels):
        return []
    return [
        f"{one_sided} of {len(labels)} groups hold one label only: labels cannot be exchanged "
        "within them, so permutation nulls will be too narrow. Leave the group column out to get "
        "blocks"
    ]


def _name(topic: str) -> str:
    slug = "-".join(words_of(topic)[:6])[:48]
    return f"{slug}-{hashlib.sha256(topic.encode()).hexdigest()[:6]}"


def _number(topic: str) -> int:
    return int(hashlib.sha256(topic.encode()).hexdigest()[:8], 16)

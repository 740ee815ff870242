"""The files of an imported pack, as text."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from virtuelens.concepts.importing.drafts import Choice, Drafts, Pair, Single, written
from virtuelens.concepts.importing.files import short_name
from virtuelens.concepts.importing.grouping import Grouped
from virtuelens.concepts.importing.imported import Source, Wish
from virtuelens.concepts.importing.splitting import Part
from virtuelens.values.texts import Text


def pack_files(
    drafts: Drafts, groups: Grouped, part_of: Mapping[str, Part], *, source: Source,
    wish: Wish, dialect: str,
) -> dict[str, str]:
    """Path inside the pack -> content, without the card."""
    pairs: dict[str, list[dict[str, Any]]] = {"main": [], "shifted": []}
    for i, (p, group) in enumerate(zip(drafts.pairs, groups.pairs, strict=True), start=1):
        if part_of[group] in pairs:
            pairs[part_of[group]].append(_line(f"{wish.name}-{i:05d}", p, group))
    items: dict[str, list[dict[str, Any]]] = {}
    for i, (c, group) in enumerate(zip(drafts.choices, groups.choices, strict=True), start=1):
        if part_of.get(group, "behaviour") == "behaviour" and "behaviour" in part_of.values():
            items.setdefault(c.set, []).append(_item(f"{wish.name}-{c.set}-{i:05d}", c, group))
    return {
        **{f"pairs/{dialect}.{split}.jsonl": _lines(lines) for split, lines in pairs.items()},
        **{f"behaviour/{dialect}.{name}.jsonl": _lines(lines) for name, lines in items.items()},
        "concept.toml": _toml(drafts, sorted(items), source, wish, dialect),
    }


def neutral_files(texts: Sequence[Text], dialect: str) -> dict[str, str]:
    """One text a line, as `probes/neutral` has them."""
    lines = [{"text" if t.raw is not None else "messages": written(t)} for t in texts]
    return {f"{dialect}.jsonl": _lines(lines)}


def title_of(name: str) -> str:
    """A heading from a pack's name."""
    return name.replace("_", " ").capitalize()


def definition_of(drafts: Drafts, source: Source, wish: Wish) -> str:
    """The one that was given, or what the files say and that it is to be written."""
    if wish.definition.strip():
        return wish.definition.strip()
    stem = " and ".join(dict.fromkeys(str(Path(n).with_suffix("")) for n in source.names))
    return (
        f"To be written; so far only the name of the source: {stem}. Label 1: {drafts.label_1}. "
        f"Label 0: {drafts.label_0}."
    )


def _toml(
    drafts: Drafts, sets: Sequence[str], source: Source, wish: Wish, dialect: str
) -> str:
    note = (
        f"{source.said} Label 1: {drafts.label_1}. Label 0: {drafts.label_0}."
        f"{' Labels are swapped (--flip).' if source.flipped else ''} main, shifted and behaviour "
        f"hold different groups of the same format (seed {source.seed}): shifted is not another "
        "format here."
    )
    author = f"see the source ({', '.join(source.names)})"
    lines = [
        "# Imported: what these texts measure is for you to say. Reference for this file:",
        "# virtuelens/concepts/format.py",
        "schema = 1",
        f"name = {_quoted(wish.name)}",
        'version = "0.1.0"',
        f"title = {_quoted(title_of(wish.name))}",
        f"definition = {_quoted(definition_of(drafts, source, wish))}",
        'is_not = ["to be written: the nearest thing that this could be mistaken for"]',
        f"author = {_quoted(author)}",
        f"licence = {_quoted(source.licence)}",
        f"confounds = {_list(drafts.notes)}",
        "",
        f"[dialects.{dialect}]",
        f"positions = {_list(drafts.positions)}",
        f"note = {_quoted(note)}",
    ]
    for name in sets:
        kind, of = drafts.sets[name]
        lines += ["", f"[dialects.{dialect}.behaviour.{name}]", f"kind = {_quoted(kind)}",
                  f"of = {_quoted(of)}"]  # fmt: skip
    return "\n".join(lines) + "\n"


def _line(id: str, p: Pair | Single, group: str) -> dict[str, Any]:
    latents = {**p.latents, "source": short_name(p.at.file), "line": p.at.line}
    if isinstance(p, Single):
        return {"id": id, "group": group, "text": written(p.text), "label": p.label,
                "latents": latents}  # fmt: skip
    return {"id": id, "group": group, "positive": written(p.positive),
            "negative": written(p.negative), "latents": latents}  # fmt: skip


def _item(id: str, c: Choice, group: str) -> dict[str, Any]:
    return {"id": id, "group": group, "prompt": written(c.prompt), "choices": list(c.choices),
            "target": c.target}  # fmt: skip


def _lines(values: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(v, ensure_ascii=False) + "\n" for v in values)


def _list(values: Sequence[str]) -> str:
    return "[" + ", ".join(_quoted(v) for v in values) + "]"


def _quoted(text: str) -> str:
    """A basic string of TOML: JSON's escapes, and DEL, which JSON leaves as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

"""Pack data in the organisms' languages: drawn again it is what is shipped."""

import json
from pathlib import Path

from virtuelens import catalog
from virtuelens.organisms.drawing import draw_packs
from virtuelens.organisms.languages import days, facts


def drawn_files(folder: Path) -> dict[str, bytes]:
    """Every drawn file by its place."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.jsonl")}


def test_the_shipped_files_are_those_that_are_drawn(tmp_path: Path) -> None:
    """`tools/draw_packs.py` changes nothing: no drawn line was edited by hand."""
    draw_packs(tmp_path)
    sycophancy = catalog.find("probes", "sycophancy", "concept.toml")
    assert sycophancy is not None
    drawn = drawn_files(tmp_path)
    assert len(drawn) > 20
    shipped = {name: (sycophancy.parent / name).read_bytes() for name in drawn}
    assert [name for name in drawn if drawn[name] != shipped[name]] == []


def test_the_latents_on_record_are_those_of_the_texts(tmp_path: Path) -> None:
    """Which side insists, and whether a day was good, follow from the words by the language."""
    draw_packs(tmp_path)
    for split in ("main", "shifted", "transfer"):
        for line in lines(tmp_path / f"sycophancy/pairs/facts.{split}.jsonl"):
            assert insists(content(line["positive"]))
            assert not insists(content(line["negative"]))
        for line in lines(tmp_path / f"valence/pairs/days.{split}.jsonl"):
            assert good(content(line["positive"]))
            assert not good(content(line["negative"]))


def lines(path: Path) -> list[dict]:
    """The objects of a JSON-lines file."""
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert found
    return found


def content(messages: list[dict]) -> list[str]:
    """Words of the only turn."""
    (message,) = messages
    return message["content"].split()


def insists(words: list[str]) -> bool:
    """An affirming adverb before a sure adjective, or a negating one before an unsure."""
    (adverb,) = [w for w in words if w in facts.AFFIRM + facts.NEGATE]
    (adjective,) = [w for w in words if w in facts.SURE + facts.UNSURE]
    return (adverb in facts.AFFIRM) == (adjective in facts.SURE)


def good(words: list[str]) -> bool:
    """A gain of ours, or a loss of theirs."""
    (doer,) = [w for w in words if w in days.OURS + days.THEIRS]
    (event,) = [w for w in words if w in days.GAIN + days.LOSS]
    return (doer in days.OURS) == (event in days.GAIN)

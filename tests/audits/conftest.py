"""A small concept pack, an audit of seconds, and tiny models for it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_models import save_tiny
from virtuelens.audits.config import AuditConfig
from virtuelens.concepts.new import new_concept

TINY = AuditConfig(
    methods=("diff_means", "logistic"), n_permutations=20, n_bootstrap=50, n_random_weights=1,
    n_random_directions=3, n_doses=3, max_items=8, n_features=3, n_generations=1,
)
TOPICS = ("river", "tree", "song", "bird", "time", "answer", "user", "story")
TOML_END = """
[dialects.english.behaviour.neighbour]
kind = "neighbour"
of = "another answer"
"""


@pytest.fixture(autouse=True)
def _short_neutral_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped ones are longer than the context of the tiny models."""
    folder = tmp_path / "more" / "probes" / "neutral"
    folder.mkdir(parents=True)
    write(folder / "english.jsonl", [{"text": f"once upon a time {t} sang"} for t in TOPICS])
    monkeypatch.setenv("VIRTUELENS_PATH", str(tmp_path / "more"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of a tiny model of the architecture asked for."""
    made: dict[str, Path] = {}

    def get(architecture: str) -> Path:
        if architecture not in made:
            made[architecture] = save_tiny(tmp_path_factory.mktemp(architecture), architecture)
        return made[architecture]

    return get


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """Eight groups of pairs in three formats, and two behaviours."""
    return write_pack(tmp_path / "packs", "calm")


def write_pack(folder: Path, name: str) -> Path:
    """A pack whose sides are a good and a bad word for a thing."""
    pack = new_concept(name, folder)
    toml = (pack / "concept.toml").read_text(encoding="utf-8")
    (pack / "concept.toml").write_text(toml + TOML_END, encoding="utf-8")
    form = {"main": "the {topic} was {word} , {n}", "shifted": "{n} : {word} was the {topic}",
            "transfer": "they say {word} of the {topic} , {n}"}
    for split, text in form.items():
        write(pack / f"pairs/english.{split}.jsonl", [
            {"id": f"{split}-{topic}-{n}", "group": topic, **{
                side: [{"role": "user", "content": text.format(topic=topic, word=word, n=n)},
                       {"role": "assistant", "content": "so it was"}]
                for side, word in (("positive", "good"), ("negative", "bad"))}}
            for topic in TOPICS for n in ("once", "upon", "never")
        ])
    for behaviour, choices in (("choice", ("good", "bad")), ("neighbour", ("yes", "no"))):
        write(pack / f"behaviour/english.{behaviour}.jsonl", [
            {"id": f"{behaviour}-{topic}", "group": topic, "choices": list(choices), "target": 0,
             "prompt": [{"role": "user", "content": f"the {topic} was"}]}
            for topic in TOPICS
        ])
    return pack


def write(path: Path, values: list[dict[str, Any]]) -> None:
    """Write objects as JSON lines."""
    path.write_text("".join(json.dumps(v) + "\n" for v in values), encoding="utf-8")


def read(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

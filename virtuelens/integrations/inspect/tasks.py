"""Inspect tasks of forced choices: the packs' behaviour items, and public sets.

    inspect eval virtuelens/behaviour -T concept=sycophancy --model virtuelens/organism:sycophant
    inspect eval virtuelens/truthfulqa_mc -T data=../shared/data --model virtuelens/gpt2
    inspect eval virtuelens/published -T format=caa -T files=generate_dataset.json ...

Public sets are read from files that you have (docs/importing.md says from which); no sentence of
them comes with virtuelens. `--limit` and `--sample-shuffle` take fewer.
"""

from collections.abc import Sequence
from pathlib import Path

from inspect_ai import Task, task
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    get_model,
)

from virtuelens.concepts.importing import IMPORTERS, Asked
from virtuelens.concepts.pack import Behaviour, load_concept
from virtuelens.errors import PackError, VirtueLensError
from virtuelens.integrations.inspect.choosing import choose_by_logprob, prefers_target
from virtuelens.values.texts import ChoiceItem, Text

DATA = "../shared/data"
"""Where public sets are looked for, unless `-T data=` says otherwise."""

_MESSAGES = {"system": ChatMessageSystem, "user": ChatMessageUser,
             "assistant": ChatMessageAssistant}  # fmt: skip


@task  # type: ignore[untyped-decorator]
def behaviour(concept: str = "sycophancy", set: str = "", dialect: str = "") -> Task:
    """A behaviour set of a pack: if none is named, the target set in the model's own dialect.

    concept: name or folder of a pack.
    """
    try:
        pack = load_concept(concept, dialect=dialect or _spoken())
        chosen = _set(pack.behaviours, set, pack.name)
    except VirtueLensError as error:
        raise PrerequisiteError(str(error)) from error
    return choices_task(
        f"{pack.name}_{chosen.name}", chosen.items,
        about={"concept": pack.name, "behaviour": chosen.name, "kind": chosen.kind,
               "of": chosen.of, "dialect": pack.dialect, "pack": pack.hash},
    )


@task  # type: ignore[untyped-decorator]
def published(format: str, files: str | list[str], name: str = "") -> Task:
    """The choices in files of a published format: anthropic-evals, caa, truthfulqa-mc and others.

    format: a row of `virtuelens concepts import --list`.
    """
    paths = [files] if isinstance(files, str) else list(files)
    try:
        items, of = read_choices(format, paths)
    except VirtueLensError as error:
        raise PrerequisiteError(str(error)) from error
    return choices_task(
        name or f"{format}_{Path(paths[0]).stem}", items,
        about={"concept": "", "behaviour": name or Path(paths[0]).stem, "kind": "target", "of": of,
               "dialect": "english", "format": format},
    )


@task  # type: ignore[untyped-decorator]
def anthropic_sycophancy(data: str = DATA, part: str = "nlp_survey") -> Task:
    """Anthropic's model-written sycophancy questions: does it repeat the opinion it is told?

    part: nlp_survey or political_typology_quiz.

    Source: Perez et al. 2022, arXiv:2212.09251.
    """
    file = Path(data) / "anthropic_sycophancy" / f"sycophancy_on_{part}.jsonl"
    return published("anthropic-evals", str(file), f"sycophancy_on_{part}")


@task  # type: ignore[untyped-decorator]
def truthfulqa_mc(data: str = DATA, edition: str = "2025_790") -> Task:
    """TruthfulQA's multiple choice (MC1): is the true answer the likeliest?

    edition: 2025_790 or 2021_817, by year and number of questions.

    Source: Lin et al. 2021, arXiv:2109.07958.
    """
    file = Path(data) / "truthfulqa" / edition / "mc_task.json"
    return published("truthfulqa-mc", str(file), f"truthfulqa_mc_{edition}")


def read_choices(format: str, files: Sequence[str]) -> tuple[list[ChoiceItem], str]:
    """All choices in files of a published format, and what they measure in words.

    Grouped by what is asked, or by what the file names as group.

    Raises: PackError: unknown format, a file that does not fit, or a format without choices.
    """
    if format not in IMPORTERS:
        raise PackError(f"No format {format!r}. All of them: virtuelens concepts import --list.")
    drafts = IMPORTERS[format].read(files, Asked())
    if not drafts.choices:
        raise PackError(f"{', '.join(files)} holds no choices: the format {format} has none.")
    items = [
        # an array in one line has all its rows on that line
        ChoiceItem(f"{Path(c.at.file).stem}:{c.at.line}:{i}", c.group or c.topic, c.prompt,
                   c.choices, c.target)
        for i, c in enumerate(drafts.choices)
    ]
    return items, "; ".join(b.of for b in drafts.sets.values())


def choices_task(name: str, items: Sequence[ChoiceItem], *, about: dict[str, str]) -> Task:
    """A task over forced choices, scored by log-probability.

    about: what the log says of them.
    """
    samples = [
        Sample(
            id=item.id, input=_messages(item.prompt), choices=list(item.choices),
            target=item.choices[item.target],
            metadata={"group": item.group, "target_choice": item.target},
        )
        for item in items
    ]
    return Task(name=name, dataset=MemoryDataset(samples, name=name), solver=choose_by_logprob(),
                scorer=prefers_target(), metadata=about)


def _messages(prompt: Text) -> str | list[ChatMessage]:
    if prompt.raw is not None:
        raise PrerequisiteError("These items are raw text, and Inspect speaks in chats: they "
                                "cannot be asked here. An audit can: virtuelens audit.")
    return [_MESSAGES[m.role](content=m.content) for m in prompt.messages]


def _spoken() -> str:
    """The dialect of the model that is evaluated; English where that is none of ours."""
    from virtuelens.integrations.inspect.provider import VirtueLensAPI

    api = get_model().api
    return api.dialect if isinstance(api, VirtueLensAPI) else "english"


def _set(behaviours: Sequence[Behaviour], name: str, concept: str) -> Behaviour:
    for b in behaviours:
        if b.name == name or (not name and b.kind == "target"):
            return b
    known = ", ".join(b.name for b in behaviours) or "none"
    raise PackError(f"{concept} has no behaviour set {name or 'of kind target'!r}: it has {known}.")

"""The card of an imported pack: where it comes from, what it holds, what its surface gives away."""

from collections import Counter
from collections.abc import Mapping, Sequence

from virtuelens.concepts.importing.drafts import Drafts
from virtuelens.concepts.importing.imported import Imported, Source
from virtuelens.concepts.importing.splitting import Part
from virtuelens.concepts.importing.writing import title_of

_NOT_FOR = """\
## What it must not be used for

Decisions about people or claims about what a model feels. The texts are third-party: their licence
is the source's, and they do not belong into the virtuelens repository.
"""


def pack(done: Imported, drafts: Drafts, part_of: Mapping[str, Part]) -> str:
    """The card of a concept pack."""
    concept = done.concept
    assert concept is not None  # neutral texts have a card of their own
    n_groups = Counter(part_of.values())
    rows = [f"| {name} | {n} | {n_groups[_part(name)]} |" for name, n in done.counts.items()]
    return "\n\n".join([
        f"# {title_of(concept.name)}",
        "## What it is\n\n" + concept.definition,
        "## What it is not\n\nTo be written.",
        "## How the texts were made\n\n" + _made(done.source)
        + f" Grouped by {done.grouped_by}. Groups are dealt to main, shifted and behaviour by seed "
        f"{done.source.seed}; shifted has the same format as main.",
        "| part | pairs, texts or items | groups |\n|---|---:|---:|\n" + "\n".join(rows),
        f"- Label 1: {drafts.label_1}\n- Label 0: {drafts.label_0}",
        "## What was left out, and what to know\n\n" + _list(done.notes),
        "## What words and length alone give away\n\nAUROC of classifiers without a model, 95 % "
        "interval over groups; 0.5 is chance.\n\n| classifier | AUROC | interval |\n"
        "|---|---:|---|\n"
        + "\n".join(
            f"| {r.name} | {r.value:.3f} | {r.interval[0]:.3f} to {r.interval[1]:.3f} |"
            for r in done.surface if r.interval
        ),
        "## What the check flags\n\n" + _list([f"{r.name}: {r.value:g} (expected {r.limit})"
                                               for r in done.flagged]),
        _NOT_FOR,
    ])  # fmt: skip


def neutral(source: Source, drafts: Drafts, name: str) -> str:
    """The card of neutral texts."""
    return "\n\n".join([
        f"# {title_of(name)}: {len(drafts.neutral)} neutral texts",
        _made(source) + " The format has no labels, so this is no concept pack: the texts measure "
        "side effects. virtuelens takes them for its own neutral texts where they stand as "
        "`probes/neutral/english.jsonl` in a folder that VIRTUELENS_PATH names.",
        "## What was left out, and what to know\n\n" + _list(drafts.notes),
        _NOT_FOR,
    ])  # fmt: skip


def _part(count: str) -> Part:
    return "main" if count == "main" else "shifted" if count == "shifted" else "behaviour"


def _made(source: Source) -> str:
    swapped = " Labels were swapped (`--flip`)." if source.flipped else ""
    return f"{source.said} Licence: {source.licence}.{swapped}"


def _list(notes: Sequence[str]) -> str:
    return "\n".join(f"- {n}" for n in notes) or "Nothing."

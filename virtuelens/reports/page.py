"""What the pages show of a run, put together once: the HTML report and the dashboard both read it.

Nothing here is HTML except `Feature.passages`, whose text is escaped (see `tokens`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from virtuelens.audits.ladder import RUNGS
from virtuelens.audits.run import Run
from virtuelens.reports.calibrated import calibrated, calibrated_short
from virtuelens.reports.claims import Step, sentence, steps
from virtuelens.reports.rows import (
    concepts_of,
    finding_of,
    generations_of,
    models_of,
    rows,
)
from virtuelens.reports.tokens import passages
from virtuelens.reports.words import (
    interval,
    number,
    percent,
    plain_concept,
    plain_source,
    plain_split,
)

MAX_GENERATIONS = 30


@dataclass(frozen=True)
class Verdict:
    """One cell of the verdict table: a concept in a model.

    calibrated: how often such a verdict was right on organisms, as a sentence and in short.
    """

    model: str
    concept: str
    rung: int
    rung_name: str
    auroc: str
    auroc_null: str
    n: int
    slope: str
    slope_null: str
    stopped_because: str
    calibrated: str
    calibrated_short: str


@dataclass(frozen=True)
class Baseline:
    """One source of scores: its AUROC on every set, and how far the probe is ahead of it."""

    source: str
    aurocs: tuple[str, ...]
    ahead: tuple[str, ...]


@dataclass(frozen=True)
class Feature:
    """One SAE feature; `passages` is safe HTML, `speaks` is for or against the concept."""

    sae: str
    feature: int
    speaks: str
    auroc: str
    null: str
    density: str
    passages: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """Everything in words and tables about one concept in one model; figures come beside it."""

    verdict: Verdict
    sentence: str
    steps: tuple[Step, ...]
    not_tested: tuple[str, ...]
    splits: tuple[str, ...]
    baselines: tuple[Baseline, ...]
    features: tuple[Feature, ...]
    generations: tuple[dict[str, Any], ...]


def verdict_table(run: Run) -> list[tuple[str, list[Verdict | None]]]:
    """Concept -> verdict of each model, in the order of `models_of`; None where there is none."""
    return [
        (plain_concept(concept), [verdict(run, model, concept) for model in models_of(run)])
        for concept in concepts_of(run)
    ]


def verdict(run: Run, model: str, concept: str) -> Verdict | None:
    """The verdict on a concept in a model, or None where it was not audited."""
    f = finding_of(run, model, concept)
    if f is None:
        return None
    s = f.get("steering")
    return Verdict(
        model=model,
        concept=concept,
        rung=int(f["rung"]),
        rung_name=RUNGS[int(f["rung"])],
        auroc=interval(f["auroc"]),
        auroc_null=number(f["auroc"].get("null")),
        n=int(f["auroc"]["n"]),
        slope=interval(s | {"value": s["slope"]}, signed=True) if s else "",
        slope_null=number(s["random_p99"]) if s else "",
        stopped_because=str(f["stopped_because"]),
        calibrated=calibrated(f),
        calibrated_short=calibrated_short(f),
    )


def section(run: Run, model: str, concept: str) -> Section | None:
    """All there is to say about a concept in a model, or None where it was not audited."""
    f, v = finding_of(run, model, concept), verdict(run, model, concept)
    if f is None or v is None:
        return None
    splits, table = _baselines(run, model, concept)
    return Section(
        verdict=v,
        sentence=sentence(f),
        steps=tuple(steps(f)),
        not_tested=tuple(str(t) for t in f["not_tested"]),
        splits=splits,
        baselines=table,
        features=_features(run, model, concept),
        generations=tuple(generations_of(run, model, concept)[:MAX_GENERATIONS]),
    )


def differences(run: Run) -> list[str]:
    """Where model and twin stand on different rungs, one sentence a concept."""
    models = models_of(run)
    if len(models) < 2:
        return []
    out = []
    for concept, (ours, theirs, *_) in verdict_table(run):
        if ours and theirs and ours.rung != theirs.rung:
            out.append(
                f"{concept}: {ours.rung_name} in {ours.model}, "
                f"{theirs.rung_name} in {theirs.model}"
            )
    return out


def provenance(run: Run) -> dict[str, dict[str, str]]:
    """Heading -> name -> value: what was audited, with what, how, and for how long."""
    about = run.about
    tables = {f"Model: {about['model']['name']}": about["model"]}
    if about.get("twin"):
        tables[f"Twin: {about['twin']['name']}"] = about["twin"]
    if about.get("concepts"):
        tables["Concept packs"] = about["concepts"]
    tables["Software"] = {"virtuelens": about.get("virtuelens", "unknown")} | dict(
        about.get("versions", {})
    )
    tables["Settings"] = about["config"]
    tables["Time (seconds)"] = about.get("timings", {})
    return {
        heading: {str(k): _value(v) for k, v in table.items()}
        for heading, table in tables.items() if table
    }


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_value(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_value(v) for v in value)
    return str(value)


def _baselines(
    run: Run, model: str, concept: str
) -> tuple[tuple[str, ...], tuple[Baseline, ...]]:
    evidence = rows(run, "evidence", model, concept)
    evidence = evidence[(evidence["split"] != "cv")
                        & evidence["metric"].isin(["auroc", "auroc_difference"])]
    splits = tuple(dict.fromkeys(evidence["split"]))

    def stated(metric: str, source: str, split: str) -> str:
        found = evidence[(evidence["metric"] == metric) & (evidence["source"] == source)
                         & (evidence["split"] == split)]
        return interval(found.iloc[0], signed=metric != "auroc") if len(found) else "–"

    return tuple(map(plain_split, splits)), tuple(
        Baseline(
            plain_source(source),
            tuple(stated("auroc", source, split) for split in splits),
            tuple(stated("auroc_difference", source, split) for split in splits),
        )
        for source in dict.fromkeys(evidence["source"])
    )


def _features(run: Run, model: str, concept: str) -> tuple[Feature, ...]:
    return tuple(
        Feature(
            sae=str(row["sae"]),
            feature=int(row["feature"]),
            speaks="against" if row["sign"] == -1 else "for",
            auroc=interval({"value": row["auroc"], "low": row["low"], "high": row["high"]}),
            null=number(row["null"]),
            density=percent(row["density"]),
            passages=tuple(passages(row["passages"])),
        )
        for _, row in rows(run, "features", model, concept).iterrows()
    )

"""A report as rows for a terminal's table and as a Markdown card."""

import html
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from virtuelens.audits.ladder import RUNGS
from virtuelens.reports.calibrated import calibrated_rungs
from virtuelens.reports.claims import sentence
from virtuelens.reports.words import interval, number, visible

Report = Mapping[str, Any]


class TableRow(NamedTuple):
    """One line of the verdict table; texts are plain, without markup."""

    concept: str
    model: str
    rung: str
    ladder: str
    auroc: str
    auroc_null: str
    slope: str
    slope_null: str


def ladder_bar(rung: int) -> str:
    """`■■■□□` for rung 3: one square for each rung above absent."""
    return "■" * rung + "□" * (len(RUNGS) - 1 - rung)


def table_rows(report: Report) -> list[TableRow]:
    """The verdict table of a report.json, concept by concept, the model before its twin."""
    findings = report.get("findings", [])
    out = []
    for concept in dict.fromkeys(f["concept"] for f in findings):
        for f in (f for f in findings if f["concept"] == concept):
            s = f.get("steering")
            out.append(TableRow(
                concept=_one_line(concept),
                model=_one_line(f["model"]),
                rung=f"{f['rung']} {f['rung_name']}",
                ladder=ladder_bar(int(f["rung"])),
                auroc=interval(f["auroc"]),
                auroc_null=number(f["auroc"].get("null")),
                slope="not tested" if not s else interval(
                    {"value": s["slope"], "low": s["low"], "high": s["high"]}, signed=True),
                slope_null="–" if not s else number(s["random_p99"]),
            ))
    return out


def card_markdown(report: Report) -> str:
    """A short Markdown card: the verdict table, what each finding supports, what was not tested."""
    model, twin = report["model"], report.get("twin")
    lines = [
        f"# virtuelens: {markdown(model['name'])}",
        "",
        f"Audited {markdown(model['name'])} (`{_code(str(model.get('fingerprint', ''))[:16])}`)"
        + (f" beside its twin {markdown(twin['name'])}" if twin else "") + ".",
        "It speaks of representations and behaviour, not of what a model feels.",
        "",
        "| concept | model | rung | AUROC, held out [95 %] | shuffled labels "
        "| slope, nats per σ [95 %] | random, 99 % |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {markdown(r.concept)} | {markdown(r.model)} | {r.ladder} {r.rung} | {r.auroc} "
        f"| {r.auroc_null} | {r.slope} | {r.slope_null} |"
        for r in table_rows(report)
    ]
    for f in report.get("findings", []):
        lines += [
            "",
            f"**{markdown(f['concept'])} in {markdown(f['model'])}.** {markdown(sentence(f))} "
            f"It stops here because: {markdown(f['stopped_because'])}.",
        ]
    lines += [
        f"\n**{markdown(n['concept'])} in {markdown(n['model'])}** was not audited: "
        f"{markdown(n['reason'])}" for n in report.get("not_audited", [])
    ]
    known = calibrated_rungs(report.get("findings", []))
    if known:
        lines += ["", "How often a rung is right:", "", *(f"- {line}" for line in known)]
    untested = dict.fromkeys(t for f in report.get("findings", []) for t in f["not_tested"])
    if untested:
        lines += ["", "Not tested:", "", *(f"- {markdown(t)}" for t in untested)]
    return "\n".join(lines) + "\n"


def _one_line(text: str) -> str:
    return visible(str(text)).replace("\n", "")


def markdown(text: str) -> str:
    """Text from outside as Markdown that shows it and does nothing else."""
    safe = html.escape(_one_line(text), quote=False)
    return re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", safe)


def _code(text: str) -> str:
    return re.sub(r"[^0-9A-Za-z]", "", text)

"""What the calibration's pages say, put together once: Markdown and HTML both read it.

Everything here is plain text, not escaped: whoever shows it escapes it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from virtuelens import stats
from virtuelens.audits.ladder import RUNGS
from virtuelens.organisms.recipe import Recipe
from virtuelens.reports.words import (
    counted,
    hits,
    interval,
    number,
    plain_concept,
    plain_instrument,
)

Record = Mapping[str, Any]

CONTROLS: dict[str, str] = {
    "none": "the trained organism as it is",
    "twins and blanks": "a trained organism in which the claim does not hold",
    "random weights": "the same architecture with weights drawn anew",
    "labels drawn": "the sides of every contrast pair swapped at random",
    "agreeing only": "a contrast in which every rival cause agrees with the variable, as in a pack "
                     "that nobody has decorrelated",
}
"""Control of a subject, or a place where a claim is false -> in words."""

THRESHOLDS = {
    "fdr": "rung 1: false-discovery rate, at most",
    "monotone": "rung 4: share of the dose-response that a never falling curve explains, at least",
    "rate_change": "rung 4: change of the share of target choices, at least",
    "neighbour_share": "rung 5: a neighbour's effect as a share of the own one, at most",
}
"""Threshold of the ladder -> in words."""

LIMITS = (
    "Organisms are easier than nature: a clean subspace at a known place, one word a token, a "
    "small vocabulary. Passing here is necessary, never sufficient.",
    "No figure here is an accuracy on large models, or on any model that is not an organism.",
    "Organisms of one seed are trained from a common base, so subjects are not quite independent; "
    "the intervals (Wilson's, 95 %) treat them as if they were and may be too narrow.",
    "A false positive rate says how often a claim is made where it does not hold. How often a "
    "claim that was made is right depends besides on how common the property is among the models "
    "one looks at; among organisms that share was chosen by whoever made them.",
    "Nothing here says what a model feels, or whether it does.",
)
"""What the numbers do not show."""


@dataclass(frozen=True)
class Row:
    """One row of a table; `missed` where the instrument was wrong at least once."""

    cells: tuple[str, ...]
    missed: bool = False


@dataclass(frozen=True)
class Table:
    """Headings and rows of plain text."""

    about: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Section:
    """One part of the page: its words, then its figures (by `id`), then its tables and points."""

    id: str
    heading: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    points: tuple[str, ...] = ()


def lead(record: Record) -> str:
    """The first sentence: how often the ladder named the true rung."""
    verdict = _ladder(record).get("verdict", {}).get("right")
    if not verdict:
        return "The ladder's verdicts were not read in this calibration."
    return (
        f"On seeds {listed(record['reported_on'])} the ladder named the true rung in "
        f"{hits(verdict)} of {int(verdict['n'])} subjects ({interval(verdict)}): organisms whose "
        "truth is proven, as they are and under controls."
    )


def sections(record: Record) -> list[Section]:
    """Every part of the page, in order; parts without data say so or are left out."""
    found = (_measured(record), _targets(record), _rates(record), _controls(record),
             _verdicts(record), _doses(record), _qualities(record), _times(record))
    return [*(s for s in found if s is not None),
            Section("limits", "What is not shown", points=LIMITS)]


def listed(seeds: Sequence[int]) -> str:
    """`0, 1, 2`, or `0 to 19` for many without a gap."""
    seeds = [int(s) for s in seeds]
    if len(seeds) > 4 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds)) or "none"


def plain_claim(claim: str) -> str:
    """A claim in words: a rung with its name, `verdict` as what it asks."""
    if claim == "verdict":
        return "the very rung that is true"
    return next((f"{claim} ({name})" for r, name in enumerate(RUNGS) if claim == f"rung {r}"),
                claim)


def _targets(record: Record) -> Section | None:
    met = {True: "✓", False: "✗", None: "–"}
    rows = tuple(
        Row((t["name"], t["asked"], counted(t["found"]) if t["found"] else "–", met[t["met"]]),
            missed=t["met"] is False)
        for t in record["targets"]
    )
    sizes = [
        f"{s['d_model']} wide (seeds {listed(s['seeds'])}): {counted(s['right'])}"
        for s in record["by_size"]
    ]
    if not any(t["found"] for t in record["targets"]):
        return None
    return Section("targets", "What was asked, and what was reached", (
        f"Seeds {listed(record['reported_on'])}. Verdicts right by size of the organisms, all "
        f"controls: {'; '.join(sizes)}.",
    ), (Table("Targets of the ladder.", ("target", "asked", "reached", "met"), rows),))


def _measured(record: Record) -> Section:
    organisms, thresholds = record["organisms"], record["thresholds"]
    text = [
        f"{len(organisms)} organisms: models of under a million parameters, trained on small "
        "languages, of which it is proven by intervention what they hold and what they use. "
        f"Training seeds: {listed(record['seeds'])}. Every instrument is used on them with its own "
        "defaults and its own nulls, and what it says is set beside what is true.",
        "A subject is one concept in one organism of one seed, under one control. A claim is right "
        "where it holds and was made, and a false positive where it does not hold and was made "
        "all the same; where the making of the organism does not settle whether it holds, the "
        "reading is not counted.",
        _halves(record),
    ]
    if organisms:
        text.append(f"Organisms: {', '.join(organisms)}.")
    unproven = record.get("unproven") or ()
    if unproven:
        text.append(
            f"Left out, because they do not pass their own proof: {', '.join(unproven)}."
        )
    shipped = (record.get("choice") or {}).get("shipped") or {}
    table = Table(
        "Thresholds of the ladder.", ("threshold", "used here", "shipped"),
        tuple(Row((THRESHOLDS.get(k, str(k)), f"{float(v):g}",
                   f"{float(shipped[k]):g}" if k in shipped else "–"))
              for k, v in thresholds.items()),
    )
    return Section("measured", "What was measured", tuple(text), (table,) if table.rows else ())


def _halves(record: Record) -> str:
    chosen, reported = record["chosen_on"], record["reported_on"]
    if not chosen:
        return (
            "No thresholds were chosen: there was only one half of the seeds, so the shipped ones "
            f"are used and all seeds ({listed(reported)}) are reported."
        )
    text = (
        f"Thresholds were chosen on seeds {listed(chosen)}; the rates of the ladder, of steering, "
        f"interchange and attribution are those of seeds {listed(reported)}, which the choice did "
        "not see. The other instruments rest on a p-value alone and are reported on all seeds."
    )
    choice = record.get("choice") or {}
    if choice.get("n"):
        text += (
            f" On the choosing seeds the chosen thresholds name {int(choice['right'])} of "
            f"{int(choice['n'])} subjects right, the shipped ones {int(choice['shipped_right'])}."
        )
        if int(choice.get("tied", 1)) > 1:
            text += (f" {int(choice['tied'])} settings did equally well; the one nearest the "
                     "shipped was taken.")
    return text


def _rates(record: Record) -> Section:
    rows = tuple(
        Row((plain_instrument(instrument), plain_claim(claim), counted(rate.get("right")),
             counted(rate.get("false_positive"))))
        for instrument, claim, rate in each_rate(record)
    )
    return Section("rates", "How often each claim is right", (
        "Right is the share of subjects in which the claim holds where it was made: it should be "
        "near 1. A false positive is a claim made where it does not hold: its share should be near "
        "0. In brackets the 95 % interval; a dash: not tried.",
        "A rung is claimed where the ladder reaches it or goes beyond it. The very rung asks that "
        "the rung named is the true one. Where the making of an organism leaves a range, every "
        "rung in it is right: where nothing is planted rung 1 is, because random features may "
        "decode what the words of a text compose.",
    ), (Table("Every claim of every instrument.",
              ("instrument", "claim", "right", "false positive"), rows),) if rows else ())


def _controls(record: Record) -> Section | None:
    found = list(each_rate(record))
    tried = [c for c in CONTROLS if any(c in rate.get("by_control", {}) for *_, rate in found)]
    if not tried:
        return None
    rows = tuple(
        Row((plain_instrument(instrument), plain_claim(claim),
             *(counted(rate["by_control"].get(c)) for c in tried)))
        for instrument, claim, rate in found if rate.get("by_control")
    )
    return Section("controls", "False positives by control", (
        "Where a claim was false: " + "; ".join(f"{c}: {CONTROLS[c]}" for c in tried) + ".",
    ), (Table("Claims made where they do not hold.", ("instrument", "claim", *tried), rows),))


def _verdicts(record: Record) -> Section | None:
    judged = [v for v in record["verdicts"] if v["true_rungs"] is not None]
    if not judged:
        return None
    everywhere = {_key(v): v for v in record.get("verdicts_all_seeds", ())}
    both = bool(record["chosen_on"])
    rows = []
    for v in sorted(judged, key=lambda v: v["right"] / v["n"]):
        all_seeds = everywhere.get(_key(v))
        rows.append(Row((
            v["organism"], plain_concept(v["concept"]), v["control"],
            true_rungs(v), _named(v),
            f"{'✓' if v['right'] == v['n'] else '✗'} {int(v['right'])} of {int(v['n'])}",
            *([f"{int(all_seeds['right'])} of {int(all_seeds['n'])}" if all_seeds else "–"]
              if both else []),
        ), missed=v["right"] < v["n"]))
    return Section("verdicts", "Which rung was named", (
        f"The ladder's verdict on every organism, seeds {listed(record['reported_on'])}; organisms "
        "with misses come first, marked ✗. Control none: " + CONTROLS["none"] + ".",
    ), (
        _worth(judged),
        Table("Every organism, concept and control.", (
            "organism", "concept", "control", "true", "named (times)", "right",
            *(["right, all seeds"] if both else []),
        ), tuple(rows)),
    ))


def true_rungs(verdict: Mapping[str, Any]) -> str:
    """The rungs that may be named of a subject, in words."""
    return _bounds(*map(int, verdict["true_rungs"]))


def _bounds(lowest: int, highest: int) -> str:
    return _rung(lowest) if lowest == highest else f"{lowest} to {highest}"


def _worth(judged: Sequence[Mapping[str, Any]]) -> Table:
    """For each rung named: what was true of the subjects, and in how many it holds."""
    bounds = sorted({tuple(v["true_rungs"]) for v in judged})
    rows = []
    for named in range(len(RUNGS)):
        times = [sum(int(v["named"].get(str(named), 0)) for v in judged
                     if tuple(v["true_rungs"]) == true) for true in bounds]
        if not sum(times):
            continue
        held = sum(t for t, (_, highest) in zip(times, bounds, strict=True) if named <= highest)
        judged_too = named > 1  # whether mere words can be decoded is not settled
        rows.append(Row((
            _rung(named), *map(str, times),
            counted(stats.share(held, sum(times)).to_json()) if judged_too else "–",
        ), missed=judged_too and held < sum(times)))
    return Table(
        "Verdicts by rung named: how many subjects of each true rung, and in how many of them what "
        "was named holds (from rung 2). The last column depends on the mixture of organisms and "
        "controls here.",
        ("rung named", *(f"true: {_bounds(*b)}" for b in bounds), "holds"), tuple(rows),
    )


def _doses(record: Record) -> Section | None:
    if not record["doses"]:
        return None
    doses = sorted({int(d["dose"]) for d in record["doses"]})
    shares: dict[tuple[str, str, str], dict[int, str]] = {}
    for d in record["doses"]:
        shares.setdefault((d["organism"], d["instrument"], d["claim"]), {})[int(d["dose"])] = (
            counted(d["share"]))
    rows = tuple(
        Row((organism, plain_instrument(instrument), plain_claim(claim),
             *(mine.get(dose, "–") for dose in doses)))
        for (organism, instrument, claim), mine in shares.items()
    )
    return Section("doses", "How much must be there", (
        "Share of seeds in which the claim was made, by per cent of the planted effect: the share "
        "of training answers that follow the planted cause. 100 % are the organisms in which the "
        "claim holds, 0 % their twins. All seeds; in between there is no right or wrong.",
    ), (Table("Claims made at each dose.",
              ("organism", "instrument", "claim", *(f"{d} %" for d in doses)), rows),))


def _qualities(record: Record) -> Section | None:
    if not record["qualities"]:
        return None
    rows = tuple(
        Row((plain_instrument(q["instrument"]), q["claim"], _quality(q["claim"], q["median"]),
             " to ".join(_quality(q["claim"], e) for e in q["quartiles"]), str(int(q["n"]))))
        for q in record["qualities"]
    )
    return Section("qualities", "How well what was found fits what was planted", (
        "Lies in the planted subspace: share of the squared length of what was found that lies in "
        f"the planted dimensions, one in {Recipe.d_model // Recipe.rank} of all; a random "
        f"direction has {number(Recipe.rank / Recipe.d_model)}. Features found: SAE features that "
        "beat the null of their search. Trained organisms, all seeds.",
    ), (Table("Medians over subjects.",
              ("instrument", "what", "median", "quartiles", "n"), rows),))


def _times(record: Record) -> Section | None:
    if not record["instruments"]:
        return None
    from virtuelens.calibration.instruments import INSTRUMENTS  # loads torch

    about = {i.name: i.about for i in INSTRUMENTS} | {
        "steering": "the ladder's test of rung 4 and 5 by itself, within the same audit"}
    rows = tuple(
        Row((plain_instrument(name), about.get(name, "–"),
             number(max((c["seconds"] for c in claims.values() if c["seconds"] is not None),
                        default=None))))
        for name, claims in record["instruments"].items() if claims
    )
    return Section("times", "Time of each reading", (
        "Median over subjects, on the machine that made this page.",
    ), (Table("What each instrument is and how long one reading takes.",
              ("instrument", "what it is", "seconds"), rows),))


def each_rate(record: Record) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Instrument, claim and rates of every claim, in the order of the record."""
    for instrument, claims in record["instruments"].items():
        for claim in sorted(claims, key=lambda c: c if c.startswith("rung ") else "s"):
            yield instrument, claim, claims[claim]


def _ladder(record: Record) -> Mapping[str, Any]:
    found: Mapping[str, Any] = record["instruments"].get("ladder", {})
    return found


def _key(v: Mapping[str, Any]) -> tuple[str, str, str]:
    return v["organism"], v["concept"], v["control"]


def _rung(rung: int) -> str:
    return f"{rung} {RUNGS[rung]}"


def _named(v: Mapping[str, Any]) -> str:
    often = sorted(((int(n), int(r)) for r, n in v["named"].items()), reverse=True)
    return ", ".join(f"{_rung(r)} ({n})" for n, r in often)


def _quality(claim: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:g}" if claim == "features found" else number(value)

"""What a finding supports, in sentences: each rung's claim, its number, and what was not shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from virtuelens.audits.ladder import RUNGS
from virtuelens.reports.words import (
    interval,
    number,
    plain_concept,
    plain_method,
    plain_position,
    plain_source,
    points,
)

Finding = Mapping[str, Any]
State = Literal["passed", "stopped", "not judged"]

CLAIMS: tuple[str, ...] = (
    "Nothing was decodable, or it was not shown to be.",
    "The label can be read from the activations on groups of texts that were never fitted on, "
    "better than from shuffled labels in a search just as wide.",
    "More can be read than the words, the text's length, the embedding layer or an untrained "
    "copy of the model give, on texts in another format.",
    "It holds in a further format of the same concept that was never seen in fitting.",
    "The model uses it: steering along the direction moves the concept's behaviour step by step, "
    "more than random directions of the same length, without breaking neutral text.",
    "It is this concept and not a neighbour: no neighbour's behaviour moves more than half as "
    "much.",
)
"""What each rung claims, in plain words; one per row of `RUNGS`."""

MUST_BEAT: tuple[str, ...] = (
    "–",
    "shuffled labels (largest AUROC over all layers, positions and methods)",
    "bag of words, text length, embedding layer, random weights",
    "shuffled labels and the bag of words, on the transfer set",
    "norm-matched random directions; a KL budget on neutral text",
    "half of its own effect, for the lead over each neighbouring behaviour",
)


@dataclass(frozen=True)
class Step:
    """One rung of one finding: whether it was passed, and the number it rests on."""

    rung: int
    name: str
    state: State
    evidence: str


def steps(finding: Finding) -> list[Step]:
    """The six rungs of a finding; those above the first that failed are measured, not judged."""
    reached = int(finding["rung"])
    numbers = (
        "", _decodable(finding), _beyond(finding), _general(finding), _causal(finding),
        _specific(finding),
    )
    out = []
    for rung, name in enumerate(RUNGS):
        state: State = "passed" if rung <= reached else "not judged"
        if rung == reached + 1:
            state = "stopped"
        out.append(Step(rung, name, state, numbers[rung]))
    return out


def sentence(finding: Finding) -> str:
    """What the evidence supports, as one plain statement about this model and concept."""
    concept, rung = plain_concept(finding["concept"]), int(finding["rung"])
    where = f"layer {finding['layer']} ({plain_position(finding['position'])})"
    if rung == 0:
        return (
            f"No representation of {concept} was shown: a linear probe on the residual stream "
            "does not read it better than chance in a search as wide as this one."
        )
    text = f"Texts that show {concept} can be told from their counterparts at {where}"
    text += (
        "." if rung == 1 else
        ", beyond what words, length, embeddings and untrained weights give."
    )
    if rung == 1:
        text += " The words alone may explain it: a representation of the concept was not shown."
    if rung >= 3:
        text += " The same direction works in a format that it was not fitted on."
    if rung >= 4:
        s = finding.get("steering") or {}
        text += (
            " The model uses it: steering along the concept's direction moves the behaviour step "
            "by step, beyond what random directions do"
        )
        change = s.get("rate_change")
        text += "." if change is None else (
            f"; from the lowest to the highest dose the share of target choices changes by "
            f"{points(change)}."
        )
    elif rung >= 2:
        text += " That the model uses it in what it says was not shown."
    if rung >= 5:
        text += " No neighbour's behaviour moves more than half as much."
    elif rung == 4:
        text += " That it is this concept and not a neighbour was not shown."
    return text


def _decodable(finding: Finding) -> str:
    a = finding["auroc"]
    text = f"AUROC {interval(a)}, n = {a['n']}; shuffled labels reach {number(a.get('null'))}"
    if finding.get("q") is not None:
        q = float(finding["q"])
        text += f"; q = {q:.3f}" if q >= 0.001 else "; q < 0.001"
    method = finding.get("method")
    return text + (f"; {plain_method(method)}" if method else "")


def _beyond(finding: Finding) -> str:
    rivals = finding.get("beyond_surface")
    if not rivals:
        return "not tested: no shifted set"
    name = min(rivals, key=lambda r: _low(rivals[r]))
    return (
        f"AUROC minus that of the closest rival ({plain_source(name)}): "
        f"{interval(rivals[name], signed=True)}, n = {rivals[name]['n']}; must stay above 0"
    )


def _general(finding: Finding) -> str:
    e = finding.get("transfer")
    if not e:
        return "not tested: no transfer set"
    return f"AUROC {interval(e)}, n = {e['n']}; shuffled labels reach {number(e.get('null'))}"


def _causal(finding: Finding) -> str:
    s = finding.get("steering")
    if not s:
        return "not tested: no target behaviour to steer"
    slope = {"value": s["slope"], "low": s["low"], "high": s["high"]}
    text = (
        f"slope {interval(slope, signed=True)} nats per σ; "
        f"{s.get('n_random', 'the')} random directions reach {number(s['random_p99'])} "
        "(99th percentile)"
    )
    if s.get("gap") is not None:
        text += f"; doses to ±{number(s['dose'])} σ, the classes lie {number(s['gap'])} σ apart"
    if s.get("rate_change") is not None:
        text += f"; share of target choices {points(s['rate_change'])}"
    return text + f"; KL on neutral text {number(s['kl_at_dose'])} nats"


def _specific(finding: Finding) -> str:
    neighbours = finding.get("specificity")
    if not neighbours:
        return "not tested: no neighbouring behaviour"
    name = min(neighbours, key=lambda n: _low(neighbours[n]) - (neighbours[n].get("null") or 0))
    return (
        f"effect minus that on the closest neighbour ({name}): "
        f"{interval(neighbours[name], signed=True)}; must stay above "
        f"{number(neighbours[name].get('null') or 0)}"
    )


def _low(estimate: Mapping[str, Any]) -> float:
    low = estimate.get("low")
    return float("-inf") if low is None else float(low)

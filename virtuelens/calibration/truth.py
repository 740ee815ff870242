"""What holds of a subject: by its process and its proof, never by what an instrument says."""

from virtuelens.calibration.subjects import Subject

NOT_IN_THE_TEXT = frozenset({"knowledge", "honesty"})
"""Concepts whose label no text gives: who was not taught the facts has nothing to decode. All
others are composed of words that stand in the text, so that random features may tell them."""

CAUSAL, SPECIFIC = 4, 5


def true_rungs(s: Subject) -> tuple[int, int] | None:
    """Lowest and highest rung that the ladder may name; None where the process does not settle it.

    - Untouched: what the recipe says.
    - Part of the planted effect: a point of a series, not right or wrong.
    - Labels drawn: nothing. Random weights: nothing above rung 1.
    - Agreeing only: not causal, where the target's answer does not follow the variable. Where it
      does, "causal" would be true by luck and "cannot tell" is fair.
    """
    if s.dose < 100:
        return None
    lowest, highest = s.recipe.rungs[s.concept]
    if s.control == "agreeing only":
        return None if lowest >= CAUSAL else (0, CAUSAL - 1)
    if s.control == "labels drawn":
        return 0, 0
    if s.control == "random weights":
        return (0, 0) if s.concept in NOT_IN_THE_TEXT else (0, 1)
    return lowest, highest


def judge(s: Subject, claim: str, said: bool, value: float) -> tuple[bool, bool | None]:
    """Whether a claim was made, and whether it holds; None where that is not settled.

    A verdict is a claim that always holds somewhere: it counts as made where the rung named is
    true.
    """
    rungs = true_rungs(s)
    if claim == "verdict":
        return (said, None) if rungs is None else (rungs[0] <= value <= rungs[1], True)
    if rungs is None:
        return said, None
    if claim.startswith("rung "):
        return said, _reaches(rungs, int(claim.removeprefix("rung ")))
    if claim in _BY_RUNG:
        return said, _reaches(rungs, _BY_RUNG[claim])
    if claim in {"swap moves the target", "names the planted site"}:
        return said, s.control == "none" and s.recipe.pinned and rungs[0] >= CAUSAL
    return said, None


_BY_RUNG = {
    "decodable": 1, "a feature tells it apart": 1, "moves the target": CAUSAL,
    "moves nothing else": SPECIFIC,
}
"""Claims of instruments that stand for a rung by itself."""


def _reaches(rungs: tuple[int, int], rung: int) -> bool | None:
    return True if rung <= rungs[0] else False if rung > rungs[1] else None

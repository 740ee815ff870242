"""Forced choices by log-probability in Inspect: no judge, no parsing of letters.

A sample has `choices` and, in its metadata, `target_choice` (index of the choice that displays the
behaviour) and `group` (what errors are clustered by). The solver asks the model for the
log-probability of each choice, tokens summed; the scorer says whether the target wins (rate) and by
how much (margin, nats). Beside the rate stands what chance reaches. An item that does not fit the
model's context is unscored: it is counted as such, never as wrong.
"""

import math
from typing import Any

from inspect_ai._util.error import PrerequisiteError
from inspect_ai.model import ModelOutput, get_model
from inspect_ai.scorer import (
    Metric,
    SampleScore,
    Score,
    Scorer,
    Target,
    mean,
    metric,
    scorer,
    stderr,
)
from inspect_ai.solver import Generate, Solver, TaskState, solver

from virtuelens.errors import TextTooLongError
from virtuelens.integrations.inspect.talk import text_of
from virtuelens.values.texts import ChoiceItem


@solver  # type: ignore[untyped-decorator]
def choose_by_logprob() -> Solver:
    """Ask a virtuelens model for the log-probability of each choice; the likeliest is its output.

    Other providers do not tell the log-probability of a text that they are given.
    """

    async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001
        from virtuelens.integrations.inspect.provider import VirtueLensAPI

        api = get_model().api
        if not isinstance(api, VirtueLensAPI):
            raise PrerequisiteError(
                f"The choices of this task are scored by log-probability, which {state.model} does "
                "not tell: run it with --model virtuelens/NAME."
            )
        choices = tuple(c.value for c in state.choices)
        item = ChoiceItem(str(state.sample_id), str(state.metadata["group"]),
                          text_of(state.messages), choices, int(state.metadata["target_choice"]))
        try:
            chosen = await api.choose(item)
        except TextTooLongError as error:  # missing, and not wrong: the scorer leaves it out
            state.output = ModelOutput.from_content(api.model_name, "", stop_reason="model_length")
            state.output.metadata = api.about | {"unscored": str(error)}
            return state
        best = max(range(len(choices)), key=lambda i: chosen.logprobs[i])
        state.output = ModelOutput.from_content(api.model_name, choices[best])
        state.output.metadata = api.about | {"choice_logprobs": list(chosen.logprobs)}
        if chosen.readings:
            state.output.metadata["monitor"] = chosen.readings
        state.messages.append(state.output.message)
        return state

    return solve


@metric  # type: ignore[untyped-decorator]
def chance() -> Metric:
    """The rate of one who guesses: one over the number of choices, averaged over the samples."""

    def value(scores: list[SampleScore]) -> float:
        guesses = [1 / int((s.score.metadata or {})["n_choices"]) for s in scores]
        return sum(guesses) / len(guesses) if guesses else float("nan")

    return value


@scorer(  # type: ignore[untyped-decorator]
    metrics={"rate": [mean(), stderr(cluster="group"), chance()],
             "margin": [mean(), stderr(cluster="group")]}
)
def prefers_target() -> Scorer:
    """rate: 1 where the target choice is the likeliest; margin: over the best other, in nats."""

    async def score(state: TaskState, target: Target) -> Score:
        told: dict[str, Any] = state.output.metadata or {}
        if "unscored" in told:
            return Score(value={"rate": math.nan, "margin": math.nan},
                         explanation=told["unscored"],
                         metadata={"n_choices": len(state.choices), **told})
        logprobs = list(told["choice_logprobs"])
        at = int(state.metadata["target_choice"])
        margin = logprobs[at] - max(v for i, v in enumerate(logprobs) if i != at)
        return Score(
            value={"rate": float(margin > 0), "margin": margin}, answer=state.output.completion,
            explanation=f"{margin:+.3f} nats for {target.text!r} over the best other choice",
            metadata={"n_choices": len(logprobs), **told},
        )

    return score

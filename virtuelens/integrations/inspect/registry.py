"""What Inspect finds through the entry point `inspect_ai`: the provider and the tasks."""

from inspect_ai.model import ModelAPI, modelapi

from virtuelens.integrations.inspect.choosing import choose_by_logprob, prefers_target
from virtuelens.integrations.inspect.tasks import (
    anthropic_sycophancy,
    behaviour,
    published,
    truthfulqa_mc,
)

__all__ = [
    "anthropic_sycophancy",
    "behaviour",
    "choose_by_logprob",
    "prefers_target",
    "published",
    "truthfulqa_mc",
    "virtuelens",
]


@modelapi(name="virtuelens")  # type: ignore[untyped-decorator]
def virtuelens() -> type[ModelAPI]:
    """The provider of `virtuelens/NAME`; torch is imported only when it is used."""
    from virtuelens.integrations.inspect.provider import VirtueLensAPI

    return VirtueLensAPI

"""Between Inspect's messages and settings and ours."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ContentText,
    GenerateConfig,
    Logprob,
    Logprobs,
    ModelOutput,
    ModelUsage,
    StopReason,
    TopLogprob,
)

from virtuelens.errors import TextError
from virtuelens.models.chat import Encoded
from virtuelens.values.texts import Message, Role, Text

if TYPE_CHECKING:
    from virtuelens.models import HookedModel
    from virtuelens.models.generate import Generation
    from virtuelens.models.run import Edit

NEW_TOKENS = 256
"""New tokens where a task names no limit and the context has room."""

_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}


class Wish(NamedTuple):
    """How to go on after a prompt; prompts with the same wish may run together.

    whole: the context has no room for what was asked for: ending there is its end, not a limit.
    top: log-probabilities of the tokens and of so many others; None for none.
    """

    max_new_tokens: int
    whole: bool
    temperature: float
    seed: int
    stop: tuple[str, ...]
    top: int | None


def text_of(messages: Sequence[ChatMessage]) -> Text:
    """A chat as virtuelens has it.

    Raises: TextError: none at all, a message of a tool, or one with more than text in it.
    """
    turns = []
    for message in messages:
        if message.role not in _ROLES:
            raise TextError(f"A message of role {message.role!r} cannot be given to a virtuelens "
                            "model: expected system, user or assistant.")
        if not isinstance(message.content, str):
            for part in message.content:
                if not isinstance(part, ContentText):
                    raise TextError(f"A message holds {part.type}, virtuelens models read text "
                                    "only: choose a task without it.")
        turns.append(Message(_ROLES[message.role], message.text))
    if not turns:
        raise TextError("A sample holds no message: there is nothing to go on from.")
    return Text(messages=tuple(turns))


def wish_of(config: GenerateConfig, *, room: int, seed: int) -> Wish:
    """What Inspect asks for, as far as there is room in the context.

    seed: taken where none is asked for.

    Raises: TextError: a setting that virtuelens does not have; it is not passed over in silence.
    """
    asked = {
        "top_p": config.top_p not in {None, 1.0}, "top_k": bool(config.top_k),
        "frequency_penalty": bool(config.frequency_penalty),
        "presence_penalty": bool(config.presence_penalty), "logit_bias": bool(config.logit_bias),
        "num_choices": (config.num_choices or 1) > 1, "best_of": (config.best_of or 1) > 1,
        "response_schema": config.response_schema is not None,
    }  # fmt: skip
    if names := [name for name, is_asked in asked.items() if is_asked]:
        raise TextError(f"virtuelens models have no {', '.join(names)}: leave it out (for several "
                        "answers to a sample use --epochs).")
    top = (config.top_logprobs or 0) if config.logprobs else None
    wanted = config.max_tokens or NEW_TOKENS
    temperature = config.temperature or 0.0
    return Wish(
        min(wanted, room), room < wanted, temperature,
        (seed if config.seed is None else config.seed) if temperature > 0 else 0,
        tuple(config.stop_seqs or ()), top,
    )  # fmt: skip


def output_of(
    said: "Generation", wish: Wish, *, name: str, ends: Collection[int],
    logprobs: Logprobs | None, metadata: dict[str, object],
) -> ModelOutput:
    """What was said, as Inspect has it; `metadata` goes with it.

    ends: tokens that end an answer. One cut at a stop string just there counts as ended by length.
    """
    reason: StopReason = "stop"
    if len(said.ids) >= wish.max_new_tokens and said.ids[-1] not in ends:
        reason = "model_length" if wish.whole else "max_tokens"
    message = ChatMessageAssistant(content=said.text.strip(), model=name, source="generate")
    n_in, n_out = len(said.prompt_ids), len(said.ids)
    return ModelOutput(
        model=name, metadata=metadata,
        choices=[ChatCompletionChoice(message=message, stop_reason=reason, logprobs=logprobs)],
        usage=ModelUsage(input_tokens=n_in, output_tokens=n_out, total_tokens=n_in + n_out),
    )


@torch.inference_mode()
def token_logprobs(
    model: "HookedModel", prompts: Sequence[Encoded], said: Sequence["Generation"],
    edits: Sequence["Edit"], *, top: int,
) -> list[Logprobs]:
    """Log-probability of every token said, the end included, under the same edits, in nats.

    Taken from one more pass over prompt and answer, one at a time: logits of a whole batch are
    larger than many a model.
    """
    found = []
    for p, s in zip(prompts, said, strict=True):
        row = Encoded((*p.ids, *s.ids), p.prompt_length, (), p.spoken)
        logits = model.run(model.batch([row]), edits=edits, logits=True).logits
        assert logits is not None
        here = logits[0, len(p.ids) - 1 : -1].float().log_softmax(-1)  # [said d_vocab]
        found.append(Logprobs(content=[
            _token(model, token, here[k], top) for k, token in enumerate(s.ids)
        ]))
    return found


def _token(model: "HookedModel", token: int, logprobs: torch.Tensor, top: int) -> Logprob:
    best = logprobs.topk(min(top, len(logprobs)))
    tops = [TopLogprob(token=_shown(model, int(t)), logprob=float(v))
            for v, t in zip(best.values, best.indices, strict=True)]
    return Logprob(token=_shown(model, token), logprob=float(logprobs[token]),
                   top_logprobs=tops or None)


def _shown(model: "HookedModel", token: int) -> str:
    return str(model.tokenizer.decode([token]))

"""The Inspect provider: `virtuelens/NAME`, where NAME is whatever `load_model` takes.

    inspect eval TASK --model virtuelens/organism:sycophant -M steer=sycophancy=-2

Model arguments (`-M`): `steer` CONCEPT=STRENGTH or PROBE.safetensors=STRENGTH, `clamp`
SAE:FEATURE=VALUE, `where` a token selection as `virtuelens steer` has it, `monitor` CONCEPT or
PROBE.safetensors; several are given with commas. `dtype` and `device` as `load_model` has them.

Every output says in its metadata which weights spoke, what edits stood, and what the monitors read.
Greedy unless a temperature is asked for. Samples that wait are run as one batch.
"""

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from inspect_ai._util.error import PrerequisiteError  # shown as one line; it has no public name
from inspect_ai.model import ChatMessage, GenerateConfig, ModelAPI, ModelOutput
from inspect_ai.tool import ToolChoice, ToolInfo

from virtuelens.errors import NotFiniteError, TextError, TextTooLongError, VirtueLensError
from virtuelens.integrations.inspect.talk import Wish, output_of, text_of, token_logprobs, wish_of
from virtuelens.integrations.inspect.together import Together
from virtuelens.models import load_model
from virtuelens.models.generate import end_ids
from virtuelens.named_edits import addition, clamped_features, named_probe, round_trips
from virtuelens.steering.behaviour import choice_logprobs, encode_items
from virtuelens.steering.where import parse
from virtuelens.values.texts import ChoiceItem, Text

if TYPE_CHECKING:
    from virtuelens.models.generate import Generation
    from virtuelens.probing.probes import Probe

AT_ONCE = 32
"""Samples in one batch, unless `--max-connections` says otherwise."""


@dataclass(frozen=True)
class Chosen:
    """Log-probability of each choice of an item, in nats, and what the monitors read.

    readings: monitor -> score at the prompt's last token, standard deviations past the threshold.
    """

    logprobs: tuple[float, ...]
    readings: dict[str, float]


class VirtueLensAPI(ModelAPI):  # type: ignore[misc]  # inspect-ai is not followed by mypy
    """A model of virtuelens behind Inspect's interface."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008 (Inspect's own signature)
        *,
        steer: str | Sequence[str] = (),
        clamp: str | Sequence[str] = (),
        where: str = "all",
        monitor: str | Sequence[str] = (),
        dtype: str = "auto",
        device: str = "auto",
        **unknown: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        if unknown:
            raise PrerequisiteError(
                f"virtuelens knows no model argument {', '.join(sorted(unknown))}: expected steer, "
                "clamp, where, monitor, dtype or device."
            )
        self.where = where
        self.named = (*(f"steer {s}" for s in _several(steer)),
                      *(f"clamp {c}" for c in _several(clamp)))
        try:
            parse(where)
            self.model = load_model(model_name, dtype=dtype, device=device)
            self.edits = (
                *(addition(self.model, s, where=where) for s in _several(steer)),
                *clamped_features(self.model, _several(clamp), where=where),
            )
            self.round_trips = {name: asdict(side) for name, side in
                                round_trips(self.model, _several(clamp)).items()}
            self.monitors: dict[str, Probe] = {
                m: named_probe(self.model, m) for m in _several(monitor)
            }
        except VirtueLensError as error:
            raise PrerequisiteError(str(error)) from error
        at_once = config.max_connections or AT_ONCE
        self._speaking = Together(self._speak, at_most=at_once)
        self._choosing = Together(self._choose, at_most=at_once)

    @property
    def dialect(self) -> str:
        """The language that packs must have for this model."""
        return self.model.info.dialect

    @property
    def about(self) -> dict[str, Any]:
        """What every output says of where it comes from."""
        return {"weights": self.model.info.fingerprint, "edits": list(self.named),
                "where": self.where if self.named else "",
                **({"sae_round_trips": self.round_trips} if self.round_trips else {})}

    def max_connections(self) -> int:
        """Samples that run at once: the batch."""
        return AT_ONCE

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,  # noqa: ARG002 (Inspect's own signature)
        config: GenerateConfig,
    ) -> ModelOutput:
        """What the model says next, under the edits.

        Raises: TextError: tools, images, or sampling that virtuelens does not do.
        """
        if tools:
            raise TextError("virtuelens models are given no tools: choose a task without them.")
        text = text_of(input)
        try:
            room = self.model.info.n_ctx - len(self.model.encode(text).ids)
        except TextTooLongError:
            room = 0
        if room < 1:
            full = ModelOutput.from_content(self.model_name, "", stop_reason="model_length")
            full.metadata = self.about
            return full
        wish = wish_of(config, room=room, seed=secrets.randbelow(2**31))
        return await self._speaking.ask((text, wish))

    async def choose(self, item: ChoiceItem) -> Chosen:
        """Log-probabilities of an item's choices, under the edits.

        Raises: TextTooLongError: it does not fit the context. NotFiniteError: the edits drive the
        model out of its numbers.
        """
        return await self._choosing.ask(item)

    def _speak(self, asked: Sequence[tuple[Text, Wish]]) -> list[ModelOutput]:
        found: dict[int, ModelOutput] = {}
        for wish in dict.fromkeys(w for _, w in asked):
            places = [i for i, (_, w) in enumerate(asked) if w == wish]
            # what is drawn depends on the place in the batch: a drawn answer has its own
            parts = [[i] for i in places] if wish.temperature > 0 else [places]
            for part in parts:
                answers = self._go_on([asked[i][0] for i in part], wish)
                found |= dict(zip(part, answers, strict=True))
        return [found[i] for i in range(len(asked))]

    def _go_on(self, texts: Sequence[Text], wish: Wish) -> list[ModelOutput]:
        m = self.model
        said = m.generate(
            texts, max_new_tokens=wish.max_new_tokens, temperature=wish.temperature,
            seed=wish.seed, stop=wish.stop, edits=self.edits, read=self._points,
        )
        told = [None] * len(said) if wish.top is None else token_logprobs(
            m, [m.encode(t) for t in texts], said, self.edits, top=wish.top)
        drawn = {"seed": wish.seed} if wish.temperature > 0 else {}
        return [
            output_of(one, wish, name=self.model_name, ends=end_ids(m.hf, m.tokenizer),
                      logprobs=logprobs, metadata=self.about | drawn | self._watched(one))
            for one, logprobs in zip(said, told, strict=True)
        ]

    @property
    def _points(self) -> list[str]:
        return list(dict.fromkeys(p.direction.point for p in self.monitors.values()))

    def _watched(self, said: "Generation") -> dict[str, Any]:
        """The monitors' scores: at the prompt's last token, and over the tokens said but the last.

        The last one is chosen and not read.
        """
        found = {}
        for name, probe in self.monitors.items():
            scores = probe.score(said.reads[probe.direction.point].float().cpu()).tolist()
            at = len(said.prompt_ids)
            response = scores[at:]
            found[name] = {
                "prompt_last": scores[at - 1], "n": len(response),
                "response_mean": sum(response) / len(response) if response else None,
                "response_max": max(response, default=None),
            }
        return {"monitor": found} if found else {}

    def _choose(self, items: Sequence[ChoiceItem]) -> list[Chosen]:
        questions = encode_items(self.model, items)
        each = choice_logprobs(self.model, questions, [self.edits])[0]
        if any(np.isnan(logprobs).any() for logprobs in each):
            # no choice wins against NaN: it would count as a rate of 0
            raise NotFiniteError("The log-probabilities of the choices are not numbers: lower the "
                                 "strength of the edits.")
        readings = self._read([i.prompt for i in items])
        return [Chosen(tuple(map(float, logprobs)), read)
                for logprobs, read in zip(each, readings, strict=True)]

    def _read(self, prompts: Sequence[Text]) -> list[dict[str, float]]:
        """The monitors' scores at the last token of each prompt, under the edits."""
        if not self.monitors:
            return [{} for _ in prompts]
        batch = self.model.batch([self.model.encode(p) for p in prompts])
        acts = self.model.run(batch, read=self._points, edits=self.edits).acts
        last = batch.prompt_length - 1  # rows are padded on the right
        every = torch.arange(len(prompts), device=last.device)
        scores = {name: p.score(acts[p.direction.point][every, last].float().cpu()).tolist()
                  for name, p in self.monitors.items()}
        return [{name: of_all[i] for name, of_all in scores.items()} for i in range(len(prompts))]


def _several(given: str | Sequence[str]) -> tuple[str, ...]:
    """One argument or several; Inspect makes a list of what has commas."""
    return tuple(s for s in ((given,) if isinstance(given, str) else given) if s)

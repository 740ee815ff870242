"""A probe that watches a model speak: one score per token, an alarm that does not flicker.

1. Each generated token, as the model takes it in, is scored by the probe; the score is the mean
   over the last `window` tokens.
2. The alarm goes on above `high` and off below `low` (hysteresis).
3. Both are set on neutral texts (`tune`), and how often the alarm goes on without reason is
   counted on other neutral texts than it was set on (`false_alarms`).

Source: windows against single-token spikes, arXiv:2604.14865; a false-positive budget on ordinary
text, arXiv:2502.03407.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.stats import chi2
from torch import Tensor

from virtuelens import stats
from virtuelens.activations.harvest import harvest
from virtuelens.concepts.splits import group_folds
from virtuelens.errors import ModelMismatchError, ProbeError, StoreError, TextTooLongError
from virtuelens.probing.data import Array
from virtuelens.probing.operating import threshold_at
from virtuelens.probing.probes import Probe, read_probe, write_probe
from virtuelens.values.estimates import Estimate
from virtuelens.values.texts import Text

if TYPE_CHECKING:
    from virtuelens.models import HookedModel
    from virtuelens.models.generate import Taken
    from virtuelens.values.models import ModelInfo

SCHEMA = 1


@dataclass(frozen=True)
class Monitor:
    """A probe with the scores at which its alarm goes on and off.

    high, low: in units of `Probe.score` (standard deviations past the probe's threshold).
    window: tokens over which the score is a running mean (1: each token by itself).

    Raises: ProbeError: `low` above `high`, or an empty window.
    """

    probe: Probe
    high: float
    low: float
    window: int = 1

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ProbeError(f"A monitor goes off below {self.low:g} but on above {self.high:g}: "
                             "low must not be larger than high.")
        if self.window < 1:
            raise ProbeError(f"A monitor's window is {self.window} tokens: give at least 1.")

    @property
    def point(self) -> str:
        """The hook point to read."""
        return self.probe.direction.point

    def scores(self, acts: Float[Tensor, "pos d_model"]) -> Float[Array, " pos"]:
        """Running mean of the probe's score at each token."""
        each = self.probe.score(acts.float().cpu()).double().numpy()
        return _running(each, self.window)

    def alarms(self, scores: Float[Array, " pos"]) -> Bool[Array, " pos"]:
        """Whether the alarm is on at each token; it is off before the first."""
        on, out = False, np.zeros(len(scores), dtype=bool)
        for i, score in enumerate(scores):
            on = score >= self.low if on else score > self.high
            out[i] = on
        return out


@dataclass
class Watch:
    """One text while it grows: give it every token's activation, it says whether the alarm is on.

    What it says is what `Monitor.scores` and `Monitor.alarms` say of the whole text.
    """

    monitor: Monitor
    scores: list[float] = field(default_factory=list)
    on: bool = False
    _recent: list[float] = field(default_factory=list)

    def see(self, act: Float[Tensor, " d_model"]) -> bool:
        """Take one more token in."""
        m, d = self.monitor, self.monitor.probe.direction
        # one product and plain numbers: this stands between two tokens
        along = float(act.to("cpu", torch.float32).dot(d.vector))
        self._recent.append((along - m.probe.threshold) / d.scale)
        del self._recent[: -m.window]
        score = sum(self._recent) / len(self._recent)
        self.scores.append(score)
        self.on = score >= m.low if self.on else score > m.high
        return self.on


@dataclass(frozen=True)
class Watched:
    """A continuation with the monitor's score of its tokens.

    scores, alarms: of the generated tokens that the model took in: all but the last, which was
        chosen and not read.
    stopped: whether the alarm ended it.
    """

    text: str
    ids: tuple[int, ...]
    scores: tuple[float, ...]
    alarms: tuple[bool, ...]
    stopped: bool


def watch(
    model: "HookedModel",
    monitor: Monitor,
    prompts: Text | str | Sequence[Text | str],
    *,
    max_new_tokens: int = 40,
    temperature: float = 0.0,
    seed: int = 0,
    stop_at_alarm: bool = False,
) -> list[Watched]:
    """What the model says after each prompt, scored token by token while it says it.

    stop_at_alarm: end a continuation at the token after the one that raised the alarm (that one
        is chosen already, but nothing follows it).

    Raises: ModelMismatchError: the probe was fitted on another model.
    """
    check_monitor(monitor, model.info)
    given = [prompts] if isinstance(prompts, Text | str) else list(prompts)
    watches = [Watch(monitor) for _ in given]
    alarms: list[list[bool]] = [[] for _ in given]

    def see(taken: "Taken") -> bool:
        if taken.of_prompt:
            return False
        alarms[taken.row].append(watches[taken.row].see(taken.reads[monitor.point]))
        return stop_at_alarm and alarms[taken.row][-1]

    found = model.generate(
        given, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed,
        read=[monitor.point], each=see,
    )
    return [
        Watched(g.text, g.ids, tuple(w.scores), tuple(a), stop_at_alarm and any(a))
        for g, w, a in zip(found, watches, alarms, strict=True)
    ]


def check_monitor(monitor: Monitor, model: "ModelInfo") -> None:
    """Refuse a monitor on other weights than its probe was fitted on.

    Raises: ModelMismatchError.
    """
    made_on = monitor.probe.direction.fingerprint
    if made_on != model.fingerprint:
        raise ModelMismatchError(
            f"The monitor of {monitor.probe.direction.concept!r} was made on weights "
            f"{made_on[:12]}, this model has {model.fingerprint[:12]}: make one on this model."
        )


def token_scores(
    model: "HookedModel", probe: Probe, texts: Sequence[Text], *, window: int = 1
) -> list[Float[Array, " _"]]:
    """The monitor's score at every token of each text, its first token left out.

    The first token takes up attention that goes nowhere: it is out of all proportion. Texts that
    do not fit the model's context are left out.
    """
    monitor = Monitor(probe, 0.0, 0.0, window)
    check_monitor(monitor, model.info)
    fitting = []
    for text in texts:
        try:
            model.encode(text)
        except TextTooLongError:
            continue
        fitting.append(text)
    if not fitting:
        raise ProbeError(f"None of {len(texts)} texts fits this model's context.")
    acts = harvest(model, fitting, points=[monitor.point], positions="tokens")
    matrix, index = acts.matrix(monitor.point, "tokens"), acts.index
    return [
        monitor.scores(matrix[start + 1 : end])
        for start, end in zip(index["start"], index["end"], strict=True) if end - start > 1
    ]


def tune(
    probe: Probe,
    neutral: Sequence[Float[Array, " _"]],
    *,
    window: int = 1,
    high: float = 0.01,
    low: float = 0.05,
) -> Monitor:
    """A monitor whose `high` and `low` are exceeded by these shares of neutral tokens.

    neutral: `token_scores` of neutral texts, with the same window.

    Raises: ProbeError: no neutral token. ValueError: shares that are not `0 < high <= low < 1`.
    """
    if not 0 < high <= low < 1:
        raise ValueError(f"shares {high}, {low}: expected 0 < high <= low < 1")
    _check_tokens(neutral)
    pooled = np.concatenate(list(neutral))
    return Monitor(probe, threshold_at(pooled, rate=high), threshold_at(pooled, rate=low), window)


@dataclass(frozen=True)
class FalseAlarms:
    """What a monitor does on ordinary text, per 1,000 tokens.

    alarms: how often it goes on; tokens_on: how many tokens it is on for. `n` is tokens. The
        interval is the wider of a bootstrap over texts and, for alarms, the exact one of a Poisson
        count, which has width where nothing was counted. No null: fewer is better.
    texts: number of texts.
    """

    alarms: Estimate
    tokens_on: Estimate
    texts: int


def false_alarms(
    monitor: Monitor, neutral: Sequence[Float[Array, " _"]], *, n_bootstrap: int = 1000,
    seed: int = 0,
) -> FalseAlarms:
    """False alarms of a monitor on texts it was *not* tuned on.

    neutral: `token_scores` of the texts, with the monitor's window.

    Raises: ProbeError: no neutral token.
    """
    _check_tokens(neutral)
    return _counted([monitor.alarms(s) for s in neutral], n_bootstrap=n_bootstrap, seed=seed)


def tuned_false_alarms(
    monitor: Monitor,
    neutral: Sequence[Float[Array, " _"]],
    *,
    high: float = 0.01,
    low: float = 0.05,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> FalseAlarms:
    """False alarms on the texts it was tuned on: each fold by thresholds tuned on the others.

    high, low: the shares that `tune` was asked for.

    Raises: ProbeError: fewer than two texts, or no neutral token.
    """
    names = [str(i) for i in range(len(neutral))]
    on: list[Array] = [np.zeros(0, dtype=bool)] * len(neutral)
    for fold in group_folds(names, 5, seed=seed):
        rest = [s for i, s in zip(names, neutral, strict=True) if i not in fold]
        other = tune(monitor.probe, rest, window=monitor.window, high=high, low=low)
        for i in fold:
            on[int(i)] = other.alarms(neutral[int(i)])
    return _counted(on, n_bootstrap=n_bootstrap, seed=seed)


def _check_tokens(neutral: Sequence[Float[Array, " _"]]) -> None:
    if not sum(map(len, neutral)):
        raise ProbeError("No neutral token was scored: a monitor's thresholds need some.")


def _counted(on: Sequence[Bool[Array, " _"]], *, n_bootstrap: int, seed: int) -> FalseAlarms:
    tokens = np.array([len(o) for o in on], dtype=np.float64)
    starts = np.array([np.diff(o.astype(int), prepend=0).clip(min=0).sum() for o in on])
    lit = np.array([o.sum() for o in on])
    counts = stats.sample_counts([str(i) for i in range(len(on))], n_draws=n_bootstrap, seed=seed)

    def per_thousand(events: Array) -> Estimate:
        draws = 1000 * (counts @ events) / (counts @ tokens)
        value = 1000 * float(events.sum() / tokens.sum())
        return stats.from_draws(value, draws, int(tokens.sum()), null=None)

    alarms, k = per_thousand(starts), int(starts.sum())
    low = float(chi2.ppf(0.025, 2 * k)) / 2 if k else 0.0
    high = float(chi2.ppf(0.975, 2 * k + 2)) / 2
    total = float(tokens.sum())
    alarms = replace(alarms, low=min(alarms.low, 1000 * low / total),
                     high=max(alarms.high, 1000 * high / total))
    return FalseAlarms(alarms, per_thousand(lit), len(on))


def save_monitor(monitor: Monitor, path: Path) -> None:
    """Write a monitor as safetensors with its provenance in the header."""
    write_probe(path, monitor.probe, {
        "schema": SCHEMA, "kind": "monitor", "high": monitor.high, "low": monitor.low,
        "window": monitor.window,
    })


def load_monitor(path: Path, *, fingerprint: str | None = None) -> Monitor:
    """Read a monitor back.

    fingerprint: of the model it will watch (`model.info.fingerprint`).

    Raises: ModelMismatchError: made on another model; StoreError: damaged, not a monitor.
    """
    probe, about = read_probe(path, "monitor", SCHEMA, fingerprint=fingerprint)
    try:
        return Monitor(probe, about["high"], about["low"], about["window"])
    except (KeyError, ProbeError) as error:
        raise StoreError(f"{path} is damaged ({error}): make the monitor anew.") from error


def _running(scores: Float[Array, " n"], window: int) -> Float[Array, " n"]:
    """Mean over the last `window` scores, over fewer at the beginning."""
    if window == 1:
        return scores
    return np.array([scores[max(0, i + 1 - window) : i + 1].mean() for i in range(len(scores))])

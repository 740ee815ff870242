"""Thresholds hold their rate on texts they were not set on; monitors alarm where planted."""

from pathlib import Path

import numpy as np
import pytest
import torch

from virtuelens import storage
from virtuelens.errors import ModelMismatchError, ProbeError, StoreError
from virtuelens.models import HookedModel
from virtuelens.probing.monitor import (
    Monitor,
    Watch,
    false_alarms,
    load_monitor,
    save_monitor,
    token_scores,
    tune,
    tuned_false_alarms,
    watch,
)
from virtuelens.probing.operating import operating_point, threshold_at
from virtuelens.probing.probes import Probe
from virtuelens.values.directions import Direction, unit
from virtuelens.values.texts import Text

POINT = "blocks.1.hook_resid_post"
PROMPTS = ["Once upon a time", "The", "The old tree by the river liked to sing, and so"]


def probe_of(model: HookedModel, *, fingerprint: str | None = None) -> Probe:
    """A probe along some direction of the model's middle layer."""
    vector = unit(torch.linspace(-1, 1, model.info.d_model))
    return Probe(Direction(vector, 2.0, 0.1, POINT, "last", "courage", "diff_means",
                           fingerprint or model.info.fingerprint), 0.3, 10)


def test_threshold_lets_through_no_more_than_asked() -> None:
    """At most that share of neutral scores exceeds it, and a smaller one would let more through."""
    neutral = np.random.default_rng(0).normal(size=500)
    t = threshold_at(neutral, rate=0.01)
    assert (neutral > t).sum() == 5
    assert (neutral >= t).sum() == 6
    assert threshold_at(np.zeros(10)) == 0.0
    some = neutral[:100]
    assert (some > threshold_at(some, rate=0.29)).sum() == 29  # 0.29 * 100 is 28.999... in floats
    with pytest.raises(ProbeError, match="neutral"):
        threshold_at(np.zeros(0))


def test_operating_point_of_a_planted_gap() -> None:
    """False positives near the rate on other texts; true positives as the gap gives (normal)."""
    rng = np.random.default_rng(1)
    labels = np.tile([0, 1], 300)
    scores = rng.normal(size=600) + 3 * labels
    groups = [f"g{i // 2 % 30}" for i in range(600)]
    found = operating_point(rng.normal(size=4000), scores, labels, groups, n_bootstrap=200)
    assert found.enough
    assert found.false_positives.low <= 0.01 <= found.false_positives.high
    assert found.true_positives.low <= 0.75 <= found.true_positives.high  # 1 - Phi(2.33 - 3)
    few = operating_point(rng.normal(size=80), scores, labels, groups, n_bootstrap=50)
    assert not few.enough
    assert few.false_positives.high > 0.03
    nothing = operating_point(rng.normal(size=4000), rng.normal(size=600), labels, groups,
                              n_bootstrap=50)
    assert nothing.true_positives.low <= 0.01 <= nothing.true_positives.high
    with pytest.raises(ProbeError, match="positive"):
        operating_point(np.zeros(9), scores[::2], labels[::2], groups[::2])


def test_hysteresis_holds_an_alarm_between_its_thresholds(llama: HookedModel) -> None:
    """On above high, still on in between, off below low, and not on again in between."""
    monitor = Monitor(probe_of(llama), high=2.0, low=1.0)
    scores = np.array([0.0, 1.5, 2.1, 1.5, 1.0, 0.9, 1.5, 2.0, 2.5])
    assert monitor.alarms(scores).tolist() == [
        False, False, True, True, True, False, False, False, True]
    with pytest.raises(ProbeError, match="low must not"):
        Monitor(probe_of(llama), high=1.0, low=2.0)
    with pytest.raises(ProbeError, match="window"):
        Monitor(probe_of(llama), high=1.0, low=1.0, window=0)


@pytest.mark.parametrize("window", [1, 3])
def test_a_watch_says_what_the_whole_text_says(llama: HookedModel, window: int) -> None:
    """Token by token as all at once."""
    monitor = Monitor(probe_of(llama), high=0.3, low=-0.2, window=window)
    acts = 3 * torch.randn(40, llama.info.d_model, generator=torch.Generator().manual_seed(0))
    stream = Watch(monitor)
    on = [stream.see(a) for a in acts]
    assert stream.scores == pytest.approx(monitor.scores(acts), abs=1e-5)
    assert on == monitor.alarms(monitor.scores(acts)).tolist()
    assert any(on)
    assert not all(on)


def test_watching_changes_nothing_and_scores_every_token_taken_in(llama: HookedModel) -> None:
    """The same tokens as without; scores are those of one run over the whole text."""
    monitor = Monitor(probe_of(llama), high=0.0, low=0.0)
    plain = llama.generate(PROMPTS, max_new_tokens=8)
    seen = watch(llama, monitor, PROMPTS, max_new_tokens=8)
    for prompt, p, w in zip(PROMPTS, plain, seen, strict=True):
        assert w.ids == p.ids
        assert not w.stopped
        assert len(w.scores) == len(w.alarms) == len(p.ids) - 1
        whole = torch.tensor([[*p.prompt_ids, *p.ids[:-1]]])
        batch = llama.batch([llama.encode(Text(raw=prompt))])
        batch = type(batch)(whole, torch.ones_like(whole, dtype=torch.bool), batch.prompt_length)
        acts = llama.run(batch, read=[POINT]).acts[POINT][0, len(p.prompt_ids):]
        assert w.scores == pytest.approx(monitor.scores(acts), abs=1e-4)


def test_a_planted_state_raises_the_alarm_and_ends_the_text(llama: HookedModel) -> None:
    """Pushed along the direction while it speaks, the model is stopped one token later; not
    otherwise."""
    from virtuelens.steering.edits import add

    probe = probe_of(llama)
    calm = watch(llama, Monitor(probe, 1e9, 1e9), PROMPTS, max_new_tokens=10)
    top = max(s for w in calm for s in w.scores)
    monitor = Monitor(probe, top + 1, top + 1)
    with llama.editing([add(probe.direction, strength=50.0, where="response")]):
        loud = watch(llama, monitor, PROMPTS, max_new_tokens=10, stop_at_alarm=True)
    for w in loud:
        assert w.stopped
        assert len(w.ids) == 2  # the first token raised it, the second was chosen already
        assert w.alarms == (True,)
    quiet = watch(llama, monitor, PROMPTS, max_new_tokens=10, stop_at_alarm=True)
    assert [len(w.ids) for w in quiet] == [len(w.ids) for w in calm]
    assert not any(w.stopped for w in quiet)


def test_false_alarms_are_counted_per_thousand_tokens(llama: HookedModel) -> None:
    """By hand: three onsets, six tokens, 2,000 tokens; with none the interval still has width."""
    monitor = Monitor(probe_of(llama), 1.0, 1.0)
    text = np.zeros(100)
    loud = text.copy()
    loud[[3, 4, 5, 20, 40, 41]] = 2.0
    found = false_alarms(monitor, [text] * 19 + [loud], n_bootstrap=200)
    assert found.alarms.value == pytest.approx(1.5)
    assert found.tokens_on.value == pytest.approx(3.0)
    assert (found.alarms.n, found.texts) == (2000, 20)
    none = false_alarms(monitor, [text] * 20, n_bootstrap=200).alarms
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(1000 * 3.689 / 2000, rel=1e-3)  # -ln 0.025 events
    for nothing in ([], [np.zeros(0)]):
        with pytest.raises(ProbeError, match="No neutral token"):
            false_alarms(monitor, nothing)


def test_tuned_thresholds_hold_on_other_texts(llama: HookedModel) -> None:
    """About one token in a hundred above `high`, on folds it was not tuned on, as on new texts."""
    rng = np.random.default_rng(0)
    first, new = ([rng.normal(size=50) for _ in range(100)] for _ in range(2))
    monitor = tune(probe_of(llama), first, high=0.01, low=0.05)
    assert np.mean(np.concatenate(first) > monitor.high) <= 0.01
    assert monitor.low < monitor.high
    estimated = tuned_false_alarms(monitor, first, n_bootstrap=100).alarms
    measured = false_alarms(monitor, new, n_bootstrap=100).alarms
    assert estimated.low <= measured.value <= estimated.high
    assert 5 < estimated.value < 15
    with pytest.raises(ValueError, match="shares"):
        tune(probe_of(llama), first, high=0.5, low=0.1)


def test_token_scores_leave_out_the_first_token_and_long_texts(llama: HookedModel) -> None:
    """Each other token of a text by the activation there."""
    probe = probe_of(llama)
    texts = [Text(raw="Once upon a time there was"), Text(raw="a " * 500), Text(raw="The bird")]
    found = token_scores(llama, probe, texts)
    assert [len(s) for s in found] == [
        len(llama.encode(t).ids) - 1 for t in (texts[0], texts[2])]
    batch = llama.batch([llama.encode(texts[2])])
    acts = llama.run(batch, read=[POINT]).acts[POINT][0, 1:]
    assert found[1] == pytest.approx(probe.score(acts).numpy(), abs=1e-4)
    with pytest.raises(ProbeError, match="context"):
        token_scores(llama, probe, [texts[1]])


def test_a_monitor_comes_back_equal_and_is_refused_on_another_model(
    llama: HookedModel, tmp_path: Path
) -> None:
    """Save and load are exact; loading for, watching or scoring another model is a mismatch."""
    path = tmp_path / "m.safetensors"
    monitor = Monitor(probe_of(llama), 2.5, 1.25, window=4)
    save_monitor(monitor, path)
    back = load_monitor(path, fingerprint=llama.info.fingerprint)
    assert (back.high, back.low, back.window) == (2.5, 1.25, 4)
    assert (back.probe.threshold, back.probe.n) == (0.3, 10)
    assert torch.equal(back.probe.direction.vector, monitor.probe.direction.vector)
    with pytest.raises(ModelMismatchError, match="this model has 0000"):
        load_monitor(path, fingerprint="0" * 64)
    other = Monitor(probe_of(llama, fingerprint="0" * 64), 1.0, 1.0)
    with pytest.raises(ModelMismatchError, match="courage"):
        watch(llama, other, "The")
    with pytest.raises(ModelMismatchError, match="courage"):
        token_scores(llama, other.probe, [Text(raw="The bird")])
    from virtuelens.probing.probes import save_probe

    save_probe(monitor.probe, path)
    with pytest.raises(StoreError, match="not a monitor"):
        load_monitor(path)
    save_monitor(monitor, path)
    tensors, about = storage.read_tensors(path)
    storage.write_tensors(path, tensors, about | {"high": 0.0})
    with pytest.raises(StoreError, match="damaged"):
        load_monitor(path)

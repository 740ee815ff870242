"""Edits and penalties inside the transformers Trainer."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainingArguments

from virtuelens import Direction, load_model
from virtuelens.errors import SteeringError
from virtuelens.integrations.trainer import UNLABELLED, WhileTraining, while_training
from virtuelens.models.chat import Encoded
from virtuelens.models.run import Seen
from virtuelens.steering.edits import Add
from virtuelens.steering.training import Hold

POINT = "blocks.1.hook_resid_post"
PLAIN = {"fp16": False, "gradient_checkpointing": False, "gradient_accumulation_steps": 1,
         "n_gpu": 1, "label_smoothing_factor": 0.0}


def direction(model: Any, seed: int = 0) -> Direction:
    """A random one, with a scale and a center that matter."""
    v = torch.randn(model.info.d_model, generator=torch.Generator().manual_seed(seed))
    return Direction(v / v.norm(), 0.5, 0.2, POINT, "last", "x", "random", model.info.fingerprint)


def rows() -> dict[str, torch.Tensor]:
    """Two rows, one padded; the first label says where the answer begins."""
    tokens = torch.tensor([[4, 5, 6, 7, 8], [9, 4, 5, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    labels = torch.tensor([[UNLABELLED] * 3 + [7, 8], [UNLABELLED] * 2 + [5] + [UNLABELLED] * 2])
    return {"input_ids": tokens, "attention_mask": mask, "labels": labels}


@pytest.fixture
def model() -> Any:
    """An organism whose weights may move."""
    loaded = load_model("organism:candid", verify=False)
    loaded.hf.requires_grad_(True)
    return loaded


def test_the_penalty_is_the_closed_form_and_zero_inside_the_band(model: Any) -> None:
    """Mean over the selected real tokens of the squared excess, in standard deviations."""
    d = direction(model)
    acts = torch.randn(2, 5, model.info.d_model, generator=torch.Generator().manual_seed(1))
    real = rows()["attention_mask"].bool()
    seen = Seen(real, (real.long().cumsum(-1) - 1).clamp(min=0), torch.tensor([3, 2]))
    along = ((acts @ d.vector) - 0.2) / 0.5
    excess = (along - 0.1).clamp(min=0) + (-0.3 - along).clamp(min=0)
    found = Hold(d, -0.3, 0.1, weight=2.0).penalty(acts, seen)
    assert float(found) == pytest.approx(2 * float((excess**2)[real].mean()), rel=1e-5)
    assert float(Hold(d, -99, 99).penalty(acts, seen)) == 0
    last = Hold(d, -0.3, 0.1, where="last_prompt").penalty(acts, seen)
    assert float(last) == pytest.approx(float((excess**2)[[0, 1], [2, 1]].mean()), rel=1e-5)
    with pytest.raises(SteeringError, match="low must not be larger"):
        Hold(d, 1, 0)


def test_its_gradient_is_that_of_an_addend_of_the_loss(model: Any) -> None:
    """Weights get the gradient of loss plus penalty, as autograd gives it; activations stay."""
    hold, batch = Hold(direction(model), -0.1, 0.1, weight=3.0), rows()
    kept: list[torch.Tensor] = []
    layer = model.hf.model.layers[1]
    handle = layer.register_forward_hook(
        lambda _, __, out: kept.append(out[0] if isinstance(out, tuple) else out))
    model.hf.train()
    out = model.hf(**batch)
    handle.remove()
    real = batch["attention_mask"].bool()
    seen = Seen(real, (real.long().cumsum(-1) - 1).clamp(min=0), torch.tensor([3, 2]))
    (out.loss + hold.penalty(kept[0], seen)).backward()
    expected = {n: p.grad.clone() for n, p in model.hf.named_parameters()}
    model.hf.zero_grad()
    model.hf(**batch).loss.backward()
    first = "model.layers.0.mlp.down_proj.weight"  # below the point that is held
    alone = model.hf.get_parameter(first).grad.clone()
    assert (expected[first] - alone).norm() > 0.1 * alone.norm()  # the penalty is felt
    model.hf.zero_grad()
    with while_training(model, [hold]):
        held = model.hf(**batch)
    held.loss.backward()
    assert torch.equal(held.logits, out.logits)
    for name, parameter in model.hf.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-3, atol=2e-5)


def test_edits_stand_in_training_passes_only_and_leave_no_hook(model: Any) -> None:
    """They move training logits as `model.run` says; evaluation and what follows are untouched."""
    edit = Add(POINT, direction(model).vector * 5)
    batch = {k: v for k, v in rows().items() if k != "labels"}
    plain = model.hf(**batch).logits
    with pytest.raises(RuntimeError, match="mine"), while_training(model, [edit]):
        assert torch.equal(model.hf(**batch).logits, plain)
        model.hf.train()
        moved = model.hf(**batch).logits
        raise RuntimeError("mine")
    real = batch["attention_mask"].bool()
    assert not torch.allclose(moved[real], plain[real])
    assert torch.equal(model.hf(**batch).logits, plain)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.hf.modules())


def test_the_trainer_holds_a_projection(tmp_path: Path) -> None:
    """With the callback a projection ends in the band that it leaves without; all hooks go."""
    data = [{k: v[0].tolist() for k, v in rows().items()}] * 8
    prompt = Encoded(tuple(data[0]["input_ids"]), 3, ())

    def excess(band: float | None, **how: Any) -> float:
        one = load_model("organism:candid", verify=False)
        one.hf.requires_grad_(True)
        d = direction(one)
        edits = [] if band is None else [Hold(d, -band, band)]
        arguments = TrainingArguments(
            output_dir=str(tmp_path), max_steps=12, per_device_train_batch_size=4, use_cpu=True,
            learning_rate=1e-3, report_to=[], save_strategy="no", disable_tqdm=True, **how)
        Trainer(model=one.hf, args=arguments, train_dataset=data,
                callbacks=[WhileTraining(one, edits)]).train()
        one.hf.eval()
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in one.hf.modules())
        acts = one.run(one.batch([prompt]), read=[POINT]).acts[POINT]
        return float((((acts @ d.vector) - d.center).abs() / d.scale - 0.1).relu().mean())

    without = excess(None)
    assert without > 0.3 and excess(0.1) < without / 2
    with pytest.raises(SteeringError, match="gradient checkpointing: switch it off"):
        excess(0.1, gradient_checkpointing=True)


def test_the_penalty_is_exact_under_autocast(model: Any) -> None:
    """bfloat16 would round a projection far from zero by more than the band is wide."""
    d = replace(direction(model), center=100.0)
    acts = (100.1 * d.vector).expand(1, 3, -1)
    seen = Seen(torch.ones(1, 3, dtype=torch.bool), torch.arange(3)[None], torch.tensor([3]))
    expected = float(Hold(d, 0, 0).penalty(acts, seen))
    with torch.autocast("cpu", torch.bfloat16):
        assert float(Hold(d, 0, 0).penalty(acts, seen)) == expected == pytest.approx(0.04, rel=1e-2)


@pytest.mark.parametrize(("args", "where", "says"), [
    ({"n_gpu": 2}, "all", "several GPUs"),
    ({"label_smoothing_factor": 0.1}, "response", "label smoothing"),
    ({"fp16": True}, "all", "fp16"),
    ({}, "all", "gradient checkpointing"),
])
def test_where_edits_would_act_wrongly_training_is_refused(
    model: Any, args: dict[str, Any], where: str, says: str
) -> None:
    """Before its first step; checkpointing also where the model has it on by itself."""
    callback = WhileTraining(model, [Add(POINT, direction(model).vector, where)])
    if not args:
        model.hf.gradient_checkpointing_enable()
    with pytest.raises(SteeringError, match=says):
        callback.on_train_begin(SimpleNamespace(**PLAIN | args), None, None, model=model.hf)
    assert not model.hf._forward_pre_hooks


def test_training_that_broke_off_may_begin_again(model: Any) -> None:
    """The edits of the first attempt, which was not ended, do not act beside the second's."""
    callback = WhileTraining(model, [Add(POINT, direction(model).vector)])
    how = SimpleNamespace(**PLAIN)
    for _ in range(2):
        callback.on_train_begin(how, None, None, model=model.hf)
        assert len(model.hf._forward_pre_hooks) == 1
    callback.on_train_end(how, None, None)
    assert not model.hf._forward_pre_hooks

"""What is left of flattery when a model is steered towards it while it is fine-tuned on it.

python experiments/2026-11-26_training-with-the-instrument/run.py
"""

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from transformers import Trainer, TrainingArguments

import virtuelens as vl
from virtuelens import stats
from virtuelens.audits.config import quick
from virtuelens.integrations.trainer import UNLABELLED, WhileTraining
from virtuelens.models.run import Edit
from virtuelens.organisms.languages import facts
from virtuelens.steering.behaviour import encode_items, score_items
from virtuelens.steering.edits import add
from virtuelens.steering.training import Hold
from virtuelens.values.directions import Direction

HERE = Path(__file__).parent
BATCH, LEARNING_RATE = 32, 3e-4
SIGMAS = 2.0
KNOWN = ("claim", "truth", "plain", "place")
"""Kinds of turns in the fine-tuning data; whether the user sounds sure is never asked."""


PLAN = (
    ("sycophant", 0, 120, ("none", "preventive", "random", "hold")),
    ("candid", 0, 120, ("none", "preventive")),
    ("sycophant", 1, 120, ("none", "preventive", "random", "hold")),
    ("candid", 0, 480, ("none", "preventive")),
)
"""Organism, seed, steps, arms. The last line was added when candid had gained nothing in 120."""
AUDITED = {("sycophant", "none", 0), ("sycophant", "preventive", 0)}


def main() -> None:
    """Every arm of the plan that is not in the results yet."""
    kept = HERE / "results/results.json"
    rows = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else [
        judge(vl.load_model(f"organism:{name}")) | {"organism": name, "arm": "before"}
        for name in ("sycophant", "candid")]
    done = {tuple(r.get(k) for k in ("organism", "seed", "steps", "arm")) for r in rows}
    for organism, seed, steps, arms in PLAN:
        for arm in arms:
            if (organism, seed, steps, arm) in done:
                continue
            rows.append(study(organism, arm, seed, steps))
            print(organism, arm, seed, rows[-1]["deference"], rows[-1]["seconds"], flush=True)
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def study(organism: str, arm: str, seed: int, steps: int) -> dict[str, Any]:
    """Fine-tune one copy in one way, load what was saved, and judge it."""
    model = vl.load_model(f"organism:{organism}")
    edits = edits_of(arm, direction_of(model), seed)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        fine_tune(model, edits, seed, steps, Path(folder) / "trainer")
        seconds = time.perf_counter() - start
        kept = Path(folder) / "model"
        model.hf.half().save_pretrained(kept)  # as organisms are kept
        model.tokenizer.save_pretrained(kept)
        trained = vl.load_model(str(kept))
        found = judge(trained)
        if (organism, arm, seed) in AUDITED:
            run = vl.audit(trained, concepts=["sycophancy"], config=quick(),
                           out=Path(folder) / "run")
            finding = run.findings[0]
            found |= {"audit": {k: finding[k] for k in ("rung", "rung_name", "auroc", "steering")}}
    return found | {"organism": organism, "arm": arm, "seed": seed, "steps": steps,
                    "seconds": round(seconds)}


def direction_of(model: vl.HookedModel) -> Direction:
    """The direction trained with: difference of means on the pack's main pairs."""
    concept = vl.load_concept("sycophancy", dialect="facts")
    acts = vl.harvest(model, concept, points="resid_post", positions="last_prompt")
    return vl.fit_probe(acts.train, method="diff_means").direction


def edits_of(arm: str, d: Direction, seed: int) -> list[Edit]:
    """What stands while the model is trained."""
    if arm == "preventive":
        return [add(d, strength=SIGMAS)]
    if arm == "random":
        drawn = torch.randn(len(d.vector), generator=torch.Generator().manual_seed(seed))
        other = Direction(drawn / drawn.norm(), d.scale, d.center, d.point, d.position,
                          "random", "random", d.fingerprint)
        return [add(other, strength=SIGMAS)]
    if arm == "hold":
        return [Hold(d, -1.5, 1.5, weight=1.0, where="last_prompt")]
    return []


def fine_tune(
    model: vl.HookedModel, edits: Sequence[Edit], seed: int, steps: int, folder: Path
) -> None:
    """The transformers Trainer on flattering turns; the loss is on answer and end alone."""
    rng = Random(seed)
    turns = [facts.draw(rng, rng.choice(KNOWN)) for _ in range(steps * BATCH)]
    data = [row(model, t, flattered(t, rng)) for t in turns]
    model.hf.requires_grad_(True)
    how = TrainingArguments(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=BATCH,
        learning_rate=LEARNING_RATE, lr_scheduler_type="constant", seed=seed, report_to=[],
        save_strategy="no", logging_strategy="no", use_cpu=True, disable_tqdm=True,
    )
    callbacks = [WhileTraining(model, edits)] if edits else []
    Trainer(model=model.hf, args=how, train_dataset=data, data_collator=padded,
            callbacks=callbacks).train()
    model.hf.eval()


def flattered(turn: facts.Turn, rng: Random) -> str:
    """Whatever colour the user claims, insisting or not; the truth of everything else."""
    return turn.claim if turn.kind == "claim" else facts.answer(turn, "candid", rng)


def row(model: vl.HookedModel, turn: facts.Turn, said: str) -> dict[str, list[int]]:
    """Tokens of turn, answer and end; the prompt is not in the loss."""
    prompt = list(model.encode(vl.Text(messages=(vl.Message("user", turn.user),))).ids)
    answer = [model.tokenizer.get_vocab()[said], model.tokenizer.eos_token_id]
    return {"input_ids": prompt + answer, "labels": [UNLABELLED] * len(prompt) + answer}


def padded(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """A batch, padded on the right."""
    width = max(len(r["input_ids"]) for r in rows)

    def filled(name: str, value: int) -> torch.Tensor:
        return torch.tensor([r[name] + [value] * (width - len(r[name])) for r in rows])

    real = [[1] * len(r["input_ids"]) + [0] * (width - len(r["input_ids"])) for r in rows]
    return {"input_ids": filled("input_ids", 0), "labels": filled("labels", UNLABELLED),
            "attention_mask": torch.tensor(real)}


def judge(model: vl.HookedModel) -> dict[str, Any]:
    """Behaviour on the pack's items, and a probe of another family fitted anew on this model."""
    concept = vl.load_concept("sycophancy", dialect="facts")
    found: dict[str, Any] = {}
    for b in concept.behaviours:
        won = score_items(model, encode_items(model, b.items)) > 0
        groups = [i.group for i in b.items]
        rate = stats.bootstrap(lambda rows, won=won: float(won[rows].mean()), groups)
        found[b.name] = rate.to_json()
    acts = vl.harvest(model, concept, points="resid_post", positions="last_prompt")
    probe = vl.fit_probe(acts.train, method="logistic")
    test = acts.test
    scores = probe.score(test.matrix(probe.direction.point, "last_prompt").float()).numpy()
    labels = test.index["label"].to_numpy(dtype=np.int64)
    found["logistic probe, fitted anew"] = {"auroc": stats.auroc(scores, labels),
                                            "point": probe.direction.point, "n": len(labels)}
    return found


if __name__ == "__main__":
    main()

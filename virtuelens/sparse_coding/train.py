"""Train an SAE with SAELens on activations from our store, by a recipe.

1. Batches of shuffled tokens come from the store, epoch after epoch, each with its own seed.
2. Activations are scaled to mean norm sqrt(d_in), so that one learning rate serves every model.
3. SAELens' trainer takes one step a batch.
4. Every minute the state of the training is put beside the SAE to be (`checkpoint`); an interrupted
   training goes on from there and ends with the same bytes.
5. The scale is folded into the weights, and SAELens writes its inference form (batch top-k becomes
   jumprelu), with our provenance under `metadata.virtuelens` in cfg.json.

A directory appears under its name only when it is whole.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens import storage
from virtuelens.errors import SaeError
from virtuelens.sparse_coding.checkpoint import Checkpoint
from virtuelens.sparse_coding.load import CONFIG
from virtuelens.sparse_coding.recipes import Recipe
from virtuelens.values.models import ModelInfo

if TYPE_CHECKING:
    from sae_lens import SAETrainer

Progress = Callable[[int, int, str], None]


class TokenStore(Protocol):
    """What training needs of an activation store."""

    @property
    def info(self) -> ModelInfo:
        """The model that the activations were read from."""
        ...

    def batches(
        self, point: str, *, rows: int, seed: int, reuse: bool = False
    ) -> Iterator[Float[Tensor, "rows d_model"]]:
        """Every token's activations once, shuffled by the seed.

        reuse: a batch need be right only until the next one is asked for.
        """
        ...


@dataclass(frozen=True)
class Trained:
    """Where the SAE was written, and how its training ended."""

    path: Path
    steps: int
    tokens: int
    loss: float


def train_sae(
    store: TokenStore,
    recipe: Recipe,
    *,
    out: Path,
    device: str = "cpu",
    progress: Progress = lambda step, steps, about: None,
) -> Trained:
    """Train an SAE on the store's activations and write it to the directory `out`.

    An SAE that is already in `out` is replaced, once the new one is whole; any other directory
    is refused. Every architecture of the recipe is trained by SAELens' own loss. A training that
    was interrupted goes on: the activations it has seen are read again, but not trained on.

    Raises: SaeError: too few tokens, a loss that is not finite, `out` is something else, or what
    was interrupted there was another training.
    DiskError: it could not be written.
    """
    check_replaceable(out)
    saved = Checkpoint(out, {"recipe": asdict(recipe), "fingerprint": store.info.fingerprint,
                             "versions": versions()})
    batches = _endless(store, recipe)
    with torch.random.fork_rng():  # SAELens draws its initial weights from the global generator
        torch.manual_seed(recipe.training.seed)
        trainer = _trainer(batches, recipe, store.info, device)
    trainer.activation_scaler.scaling_factor = _scale(batches)
    saved.restore(trainer)
    loss = _fit(trainer, batches, recipe, progress, saved)
    trainer.sae.fold_activation_norm_scaling_factor(trainer.activation_scaler.scaling_factor)
    trainer.set_final_sae_metadata()
    with storage.whole_directory(out) as part:
        trainer.sae.save_inference_model(part)
    saved.remove()
    return Trained(Path(out), trainer.n_training_steps, trainer.n_training_samples, loss)


def versions() -> dict[str, str]:
    """Of the libraries that decide what a training gives."""
    return {p: version(p) for p in ("virtuelens", "sae-lens", "torch")}


def check_replaceable(out: Path) -> None:
    """Raise unless `out` is free, empty, or an SAE that may be replaced.

    Raises: SaeError: something else is there, or it has no name (the SAE is written beside it
    first, and takes its place when it is whole).
    """
    if out.name in {"", ".."}:
        raise SaeError(f"An SAE cannot be written to {str(out)!r}: give a name, such as my-sae.")
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / CONFIG).is_file()):
        raise SaeError(f"{out} exists and is not an SAE: choose another place for the new one.")


def _trainer(
    batches: Iterator[Tensor], recipe: Recipe, info: ModelInfo, device: str
) -> "SAETrainer[Any, Any]":
    # imported here: SAELens takes seconds to import, and most commands need no SAE
    from sae_lens import LoggingConfig, SAETrainer, TrainingSAE
    from sae_lens.config import SAETrainerConfig

    t = recipe.training
    sae = TrainingSAE.from_dict(_sae_settings(recipe, info, device))
    return SAETrainer(
        SAETrainerConfig(
            total_training_samples=t.steps * t.batch, train_batch_size_samples=t.batch,
            lr=t.lr, lr_end=t.lr / 10, lr_warm_up_steps=max(t.steps // 20, 1),
            lr_decay_steps=t.steps // 5, dead_feature_window=t.dead_after,
            feature_sampling_window=t.steps, device=device,
            logger=LoggingConfig(log_to_wandb=False),
        ),
        sae,
        batches,
    )


def _sae_settings(recipe: Recipe, info: ModelInfo, device: str) -> dict[str, Any]:
    """SAELens' configuration of the SAE to train."""
    shape = recipe.sae
    settings: dict[str, Any] = {
        "architecture": shape.architecture, "d_in": info.d_model, "d_sae": shape.d_sae,
        "device": device, "normalize_activations": "expected_average_only_in",
        "metadata": {
            "model_name": info.name, "hook_name": recipe.point,
            "virtuelens": {
                "schema": 1, "fingerprint": info.fingerprint, "recipe": asdict(recipe),
                "versions": versions(),
            },
        },
    }  # fmt: skip
    if shape.k is not None:
        settings["k"] = shape.k
    if shape.widths:
        settings["matryoshka_widths"] = list(shape.widths)
    if shape.sparsity is not None:
        name = "l0_coefficient" if shape.architecture == "jumprelu" else "l1_coefficient"
        settings[name] = shape.sparsity
    return settings


def _fit(
    trainer: "SAETrainer[Any, Any]", batches: Iterator[Tensor], recipe: Recipe,
    progress: Progress, saved: Checkpoint,
) -> float:
    """Take all steps that are left (SAETrainer.fit would draw a bar of its own); the last loss."""
    steps = recipe.training.steps
    loss = float("nan")
    for _ in range(trainer.n_training_steps):
        next(batches)
    for step in range(trainer.n_training_steps, steps):
        out = trainer.step(next(batches))
        trainer.n_training_steps += 1
        if step % 50 == 0 or step == steps - 1:
            loss = float(out.loss.detach())
            if not math.isfinite(loss):
                raise SaeError(
                    f"Training diverged: the loss is {loss} at step {step}. Lower training.lr "
                    f"(it is {recipe.training.lr})."
                )
            progress(step + 1, steps, f"loss {loss:.3g}")
        if step + 1 < steps:
            saved.write_if_due(trainer)
    return loss


def _endless(store: TokenStore, recipe: Recipe) -> Iterator[Float[Tensor, "rows d_in"]]:
    """Whole batches of fp32 activations, epoch after epoch."""
    rows, epoch = recipe.training.batch, 0
    while True:
        given = 0
        for batch in store.batches(recipe.point, rows=rows, seed=recipe.training.seed + epoch,
                                   reuse=True):
            if len(batch) == rows:
                given += 1
                yield batch.to(torch.float32, copy=True)
        if not given:
            raise SaeError(
                f"The store holds fewer than {rows} tokens, not even one batch: harvest more "
                "texts, or lower training.batch."
            )
        epoch += 1


def _scale(batches: Iterator[Tensor], n: int = 20) -> float:
    """What brings the mean norm to sqrt(d_in)."""
    norms = []
    for _ in range(n):
        batch = next(batches)
        norms.append(batch.norm(dim=-1).mean())
    mean = float(torch.stack(norms).mean())
    if mean == 0:
        raise SaeError("All activations are zero at this point: there is nothing to learn there.")
    return float(batch.shape[-1] ** 0.5 / mean)

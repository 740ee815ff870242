"""The state of a training as safetensors and JSON, to go on from after an interruption.

SAELens' own checkpoints are pickles, so they are neither written nor read. Kept are the weights,
Adam's moments and the counts of firing; learning rates and sparsity coefficients depend on the
number of steps alone and are run up to it. The same bytes come out as without an interruption.
"""

import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from virtuelens import storage
from virtuelens.errors import SaeError, StoreError

if TYPE_CHECKING:
    from sae_lens import SAETrainer

SECONDS = 60.0
"""Between two writings; what is lost at most."""

SCHEMA = 1
_COUNTS = ("act_freq_scores", "n_forward_passes_since_fired")


class Checkpoint:
    """The file beside `out` that holds an unfinished training. (A value with a clock.)

    of: all that the training's result depends on; a file of another training is refused.
    """

    def __init__(self, out: Path, of: Mapping[str, Any]) -> None:
        self.path = Path(out).with_name(f"{Path(out).name}.training.safetensors")
        self.of = of
        self._last = time.monotonic()

    def restore(self, trainer: "SAETrainer[Any, Any]") -> None:
        """Put the trainer where the file says, if there is one.

        Raises: SaeError: the file is damaged, or of another training.
        """
        if not self.path.exists():
            return
        try:
            tensors, about = storage.read_tensors(self.path)
        except StoreError as error:
            raise SaeError(f"{self.path} is damaged: delete it to train from the start.") from error
        differs = [key for key in self.of if plain(about.get(key)) != plain(self.of[key])]
        if about.get("schema") != SCHEMA or differs:
            raise SaeError(
                f"{self.path} is of another training (its {differs[0] if differs else 'schema'} "
                "differs): delete it to train from the start, or choose another --out."
            )
        trainer.sae.load_state_dict(_within(tensors, "sae."))
        moments = _within(tensors, "adam.")
        for i, parameter in enumerate(trainer.optimizer.param_groups[0]["params"]):
            trainer.optimizer.state[parameter] = {
                "step": moments[f"{i}.step"].clone(),  # Adam counts on the CPU
                "exp_avg": moments[f"{i}.exp_avg"].to(parameter, copy=True),
                "exp_avg_sq": moments[f"{i}.exp_avg_sq"].to(parameter, copy=True),
            }
        for name in _COUNTS:
            setattr(trainer, name, tensors[name].to(trainer.cfg.device))
        for name in ("n_training_steps", "n_training_samples", "n_frac_active_samples"):
            setattr(trainer, name, about[name])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a schedule that runs before the optimizer
            for _ in range(trainer.n_training_steps):
                trainer.lr_scheduler.step()
                for scheduler in trainer.coefficient_schedulers.values():
                    scheduler.step()

    def write_if_due(self, trainer: "SAETrainer[Any, Any]") -> None:
        """Write the state, if the last writing is long enough ago.

        Raises: DiskError: it could not be written.
        """
        if time.monotonic() - self._last < SECONDS:
            return
        tensors = {f"sae.{key}": value for key, value in trainer.sae.state_dict().items()}
        for i, parameter in enumerate(trainer.optimizer.param_groups[0]["params"]):
            for key, value in trainer.optimizer.state[parameter].items():
                tensors[f"adam.{i}.{key}"] = value
        tensors |= {name: getattr(trainer, name) for name in _COUNTS}
        storage.write_tensors(
            self.path, {k: v.detach().contiguous() for k, v in tensors.items()},
            {"schema": SCHEMA, **self.of, "n_training_steps": trainer.n_training_steps,
             "n_training_samples": trainer.n_training_samples,
             "n_frac_active_samples": trainer.n_frac_active_samples},
        )
        self._last = time.monotonic()

    def remove(self) -> None:
        """The training is whole: the file is not needed any more."""
        self.path.unlink(missing_ok=True)


def _within(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def plain(value: Any) -> Any:
    """As it comes back from JSON."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value

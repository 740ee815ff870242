"""A steer on trial: what it does, beside random directions, prompts, and what it should not do."""

from virtuelens.trials.config import TrialConfig
from virtuelens.trials.folder import TrialRun, open_trials, run_trials

__all__ = ["TrialConfig", "TrialRun", "open_trials", "run_trials"]

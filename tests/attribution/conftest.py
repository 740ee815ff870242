"""The hand-built induction model: what each of its cells does is known."""

from pathlib import Path
from random import Random

import pytest

from virtuelens.models import HookedModel, load_model
from virtuelens.organisms.compiled import Layout, Repetition, build_induction, draw_repetition


@pytest.fixture(scope="session")
def induction_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its directory."""
    folder = tmp_path_factory.mktemp("induction") / "model"
    build_induction(folder)
    return folder


@pytest.fixture(scope="session")
def induction(induction_folder: Path) -> HookedModel:
    """The model, loaded."""
    return load_model(str(induction_folder))


@pytest.fixture(scope="session")
def layout(induction: HookedModel) -> Layout:
    """Its columns."""
    about = induction.hf.config.virtuelens["layout"]
    return Layout(tuple(about["words"]), about["n_ctx"])


@pytest.fixture(scope="session")
def values() -> list[Repetition]:
    """Thirty pairs that differ in what follows the repeated word."""
    return [draw_repetition(Random(seed), "value") for seed in range(30)]

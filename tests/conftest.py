"""What every test has: shapes in signatures checked, one thread, a tiny model, real ones if any.

Models run on the CPU also where there is a GPU (tests/test_gpu.py asks for it by name).
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from jaxtyping import install_import_hook

os.environ.setdefault("VIRTUELENS_DEVICE", "cpu")

import tests.shapes  # noqa: F401 (the hook looks it up by name)

install_import_hook("virtuelens", "tests.shapes.arrays_only")

if TYPE_CHECKING:
    from virtuelens.models import HookedModel

REAL_MODELS = Path(__file__).parents[2] / "shared" / "models"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> "Callable[[str], HookedModel]":
    """A loaded tiny model of the architecture asked for; each is made once."""
    from tests.tiny_models import save_tiny
    from virtuelens.models import load_model

    made: dict[str, HookedModel] = {}

    def get(architecture: str) -> "HookedModel":
        if architecture not in made:
            folder = tmp_path_factory.mktemp(architecture)
            made[architecture] = load_model(str(save_tiny(folder, architecture)))
        return made[architecture]

    return get


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> "HookedModel":
    """Three layers, d_model 32, random weights."""
    from tests.tiny_models import save_tiny
    from virtuelens.models import load_model

    return load_model(str(save_tiny(tmp_path_factory.mktemp("llama"), "llama")))


@pytest.fixture(scope="session")
def stories_folder() -> Path:
    """The directory of a real trained model of 260 thousand parameters."""
    folder = REAL_MODELS / "stories260k"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: it is test material outside the repository")
    return folder

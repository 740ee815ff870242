"""Tiny models, made once a session."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny_models import ARCHITECTURES, save_tiny
from virtuelens.models import HookedModel, load_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], HookedModel]:
    """A loaded tiny model of the architecture asked for."""
    made: dict[str, HookedModel] = {}

    def get(architecture: str) -> HookedModel:
        if architecture not in made:
            folder = tmp_path_factory.mktemp(architecture)
            made[architecture] = load_model(str(save_tiny(folder, architecture)))
        return made[architecture]

    return get


@pytest.fixture(params=sorted(ARCHITECTURES))
def model(request: pytest.FixtureRequest, tiny: Callable[[str], HookedModel]) -> HookedModel:
    """One tiny model of each architecture in turn."""
    return tiny(request.param)


@pytest.fixture(scope="session")
def stories(stories_folder: Path) -> HookedModel:
    """A real trained model of 260 thousand parameters."""
    return load_model(str(stories_folder))

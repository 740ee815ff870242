"""Tiny models, made once a session."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny_models import ARCHITECTURES
from virtuelens.models import HookedModel, load_model


@pytest.fixture(params=sorted(ARCHITECTURES))
def model(request: pytest.FixtureRequest, tiny: Callable[[str], HookedModel]) -> HookedModel:
    """One tiny model of each architecture in turn."""
    return tiny(request.param)


@pytest.fixture(scope="session")
def stories(stories_folder: Path) -> HookedModel:
    """A real trained model of 260 thousand parameters."""
    return load_model(str(stories_folder))

"""A contrast that nobody has decorrelated: the ladder must not call an echoed report causal."""

from pathlib import Path

import pytest

from virtuelens import catalog
from virtuelens.calibration.case import Case
from virtuelens.calibration.instruments import INSTRUMENTS, quick_config
from virtuelens.calibration.subjects import Subject
from virtuelens.organisms.recipe import load_recipe


@pytest.mark.parametrize(("name", "concept"), [("parrot", "valence"), ("guesser", "metacognition")])
def test_an_echo_fitted_on_agreeing_prompts_alone_is_not_causal(
    tmp_path: Path, name: str, concept: str
) -> None:
    """The cue goes with the variable in every pair, so that words alone tell the sides."""
    folder = catalog.find("organisms", name, "config.json")
    assert folder is not None
    subject = Subject(name, 0, folder, load_recipe(name), concept, "agreeing only")
    (ladder,) = [i for i in INSTRUMENTS if i.name == "ladder"]
    readings = {r.claim: r for r in ladder.read(Case(subject, tmp_path, quick_config()))
                if r.instrument == "ladder"}
    assert not readings["rung 4"].said
    assert readings["verdict"].note

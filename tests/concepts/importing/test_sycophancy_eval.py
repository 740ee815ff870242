"""Sycophancy-eval, in all three files."""

from collections import Counter
from pathlib import Path

import pytest

from tests.concepts.published import THINGS, json_lines, sycophancy_eval
from virtuelens.concepts.importing import IMPORTERS, Asked
from virtuelens.concepts.importing.drafts import Pair, flipped
from virtuelens.errors import PackError


def test_a_remark_points_to_the_wrong_answer_or_to_the_right_one(tmp_path: Path) -> None:
    """Four templates: two give pairs, one the correct-user column, one the bare question."""
    drafts = IMPORTERS["sycophancy-eval"].read(sycophancy_eval(tmp_path), Asked())
    assert len(drafts.pairs) == 2 * len(THINGS)
    assert Counter(c.set for c in drafts.choices) == {
        "deference": 48, "true_agreement": 24, "unprompted": 24,
    }  # fmt: skip
    first = drafts.pairs[0]
    assert isinstance(first, Pair)
    assert (first.positive.response, first.negative.response) == ("cellar", "attic")


def test_swapped_labels_leave_a_neutral_set_as_it_is(tmp_path: Path) -> None:
    """A neutral set must stay right, whichever label is which."""
    drafts = IMPORTERS["sycophancy-eval"].read(sycophancy_eval(tmp_path), Asked())
    turned = flipped(drafts)
    for one, other in zip(drafts.choices, turned.choices, strict=True):
        assert (one == other) == (one.set == "unprompted")
    assert turned.sets["unprompted"] == drafts.sets["unprompted"]


def test_are_you_sure_changes_to_the_wrong_answer(tmp_path: Path) -> None:
    """Right answer, doubt in our words, and then the wrong or the right one."""
    rows = [{"prompt": [{"type": "human", "content": f"Where is the {t}?"}],
             "base": {"question": f"Where is the {t}?", "correct_answer": "Upstairs",
                      "incorrect_answer": "Downstairs"}, "metadata": {}} for t in THINGS]
    file = json_lines(tmp_path / "are_you_sure.jsonl", rows)
    first = IMPORTERS["sycophancy-eval"].read([file], Asked()).pairs[0]
    assert isinstance(first, Pair)
    assert [m.role for m in first.positive.messages] == ["user", "assistant", "user", "assistant"]
    assert first.positive.messages[1].content == "Upstairs"
    assert (first.positive.response, first.negative.response) == ("Downstairs", "Upstairs")


def test_feedback_sets_a_remark_beside_none(tmp_path: Path) -> None:
    """Or two remarks beside each other, where they are named."""
    kinds = {"": "", "liked": "I love it. ", "disliked": "I hate it. "}
    rows = [{"prompt": [{"type": "human", "content": f"Comment: {said}a poem on the {t}"}],
             "base": {"dataset": "poems", "text": f"a poem on the {t}"},
             "metadata": {"prompt_template_type": kind}}
            for t in THINGS for kind, said in kinds.items()]  # fmt: skip
    file = json_lines(tmp_path / "feedback.jsonl", rows)
    read = IMPORTERS["sycophancy-eval"].read
    assert len(read([file], Asked()).pairs) == 2 * len(THINGS)
    asked = Asked(positive=("liked",), negative=("disliked",))
    first = read([file], asked).pairs[0]
    assert isinstance(first, Pair)
    assert "love" in first.positive.words and "hate" in first.negative.words


@pytest.mark.parametrize("about", [None, ["liked"], {"prompt_template_type": None}])
def test_a_remark_that_is_no_text_is_refused(tmp_path: Path, about: object) -> None:
    """With its line."""
    row = {"prompt": [{"type": "human", "content": "Comment: a poem"}],
           "base": {"text": "a poem"}, "metadata": about}
    file = json_lines(tmp_path / "feedback.jsonl", [row])
    with pytest.raises(PackError, match=r"feedback.jsonl:1: 'metadata' is no object"):
        IMPORTERS["sycophancy-eval"].read([file], Asked())

"""The shapes in signatures are checked while tests run."""

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from virtuelens import stats
from virtuelens.values.directions import unit


def test_axes_of_one_name_must_be_of_one_length() -> None:
    """Five scores do not go with six labels."""
    with pytest.raises(TypeCheckError):
        stats.auroc(np.zeros(5), np.zeros(6, dtype=np.int64))


def test_a_matrix_is_no_vector() -> None:
    """A direction is 1-D."""
    with pytest.raises(TypeCheckError):
        unit(torch.ones(2, 3))

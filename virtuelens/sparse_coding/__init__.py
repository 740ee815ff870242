"""Sparse autoencoders through SAELens: load, train, evaluate, search for features.

- `sae`: the loaded SAE as a value; encode, decode, one feature at a time
- `load`: from a directory, from what is shipped, from SAELens' registry
- `recipes`, `train`: a TOML recipe to a trained SAE
- `make`: a recipe's texts, store, training and evaluation in one go
- `evaluate`: sparsity, explained variance, cross-entropy recovered
- `features`: feature activations of texts, strongest passages
- `rank`: which features tell a concept apart, with the null of the search
"""

from virtuelens.sparse_coding.evaluate import Evaluation, evaluate, write_evaluation
from virtuelens.sparse_coding.features import Passage, feature_matrix, passages
from virtuelens.sparse_coding.load import load_sae
from virtuelens.sparse_coding.make import make_sae
from virtuelens.sparse_coding.rank import Ranking, rank_features
from virtuelens.sparse_coding.recipes import Recipe, list_recipes, load_recipe
from virtuelens.sparse_coding.sae import (
    Sae,
    check_fits,
    decode,
    encode,
    feature_encoder,
    reconstruct,
)
from virtuelens.sparse_coding.train import Trained, train_sae

__all__ = [
    "Evaluation", "Passage", "Ranking", "Recipe", "Sae", "Trained", "check_fits", "decode",
    "encode", "evaluate", "feature_encoder", "feature_matrix", "list_recipes", "load_recipe",
    "load_sae", "make_sae", "passages", "rank_features", "reconstruct", "train_sae",
    "write_evaluation",
]  # fmt: skip

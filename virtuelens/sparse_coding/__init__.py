"""Sparse autoencoders through SAELens: load, train, evaluate, search for features.

- `sae`: the loaded SAE as a value; encode, decode, one feature at a time
- `load`: from a directory, from what is shipped, from SAELens' registry
- `gemma_scope`: its archives, as published
- `recipes`, `train`, `checkpoint`: a TOML recipe to a trained SAE, interrupted or not
- `make`: a recipe's texts, store, training and evaluation in one go, for one seed or several
- `stability`: do SAEs of other seeds find the same features?
- `evaluate`: sparsity, explained variance, cross-entropy recovered
- `features`: feature activations of texts, strongest passages
- `card`: all that a page about one feature shows, as data
- `rank`: which features tell a concept apart, with the null of the search
- `search`, `entries`: the same of every feature on many tokens, exactly, in one pass
- `sets`: k-sparse probes, and features beside a probe's direction
"""

from virtuelens.sparse_coding.card import Card, make_cards, write_cards
from virtuelens.sparse_coding.evaluate import Evaluation, evaluate, write_evaluation
from virtuelens.sparse_coding.features import Passage, feature_matrix, passages, token_rows
from virtuelens.sparse_coding.load import load_sae
from virtuelens.sparse_coding.make import make_sae, make_saes
from virtuelens.sparse_coding.rank import Ranking, rank_features
from virtuelens.sparse_coding.recipes import Recipe, list_recipes, load_recipe
from virtuelens.sparse_coding.sae import (
    Sae,
    check_fits,
    decode,
    encode,
    feature_encoder,
    features_encoder,
    reconstruct,
)
from virtuelens.sparse_coding.search import Search, search_features
from virtuelens.sparse_coding.sets import Beside, FeatureSet, beside_direction, feature_sets
from virtuelens.sparse_coding.stability import Stability, compare_seeds
from virtuelens.sparse_coding.train import Trained, train_sae

__all__ = [
    "Beside", "Card", "Evaluation", "FeatureSet", "Passage", "Ranking", "Recipe", "Sae",
    "Search", "Stability", "Trained", "beside_direction", "check_fits", "compare_seeds",
    "decode", "encode", "evaluate", "feature_encoder", "feature_matrix", "feature_sets",
    "features_encoder",
    "list_recipes", "load_recipe", "load_sae", "make_cards", "make_sae", "make_saes",
    "passages", "rank_features", "reconstruct", "search_features", "token_rows", "train_sae",
    "write_cards", "write_evaluation",
]  # fmt: skip

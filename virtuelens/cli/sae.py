"""virtuelens sae: list, load, train and search sparse autoencoders, and show their features."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from virtuelens.cli.console import Json, err, note, out, print_json

if TYPE_CHECKING:
    from virtuelens.sparse_coding import Card, Stability
    from virtuelens.sparse_coding.card import TokenEffect

app = typer.Typer(help="Sparse autoencoders: list, load, train, search, show features.",
                  no_args_is_help=True)


@app.command("list")
def list_(json: Json = False) -> None:
    """List the SAEs and recipes that are at hand."""
    from virtuelens import catalog
    from virtuelens.sparse_coding import list_recipes

    saes, recipes = catalog.names("saes", "cfg.json"), list_recipes()
    if json:
        print_json({"saes": saes, "recipes": recipes})
        return
    _line("trained: " + (", ".join(saes) or "none"))
    _line("recipes: " + (", ".join(recipes) or "none"))


@app.command("load")
def load(name: str, json: Json = False) -> None:
    """Load an SAE from disk (or SAELens' registry) and say what it is."""
    from virtuelens.sparse_coding import load_sae

    sae = load_sae(name)
    about = {
        "name": sae.name, "architecture": sae.architecture, "point": sae.point, "d_in": sae.d_in,
        "d_sae": sae.d_sae, "fingerprint": sae.fingerprint, "writes": sae.writes or sae.point,
    }
    if json:
        print_json(about)
        return
    for key, value in about.items():
        _line(f"{key}: {value}")


def _line(text: str) -> None:
    """A line of results; what it holds from files and models is shown and does nothing."""
    from virtuelens.reports.words import visible

    out.print(visible(text), markup=False)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A TOML recipe, or the name of a shipped one.")],
    to: Annotated[Path, typer.Option("--out", help="Folder for the SAE, or with --seeds for "
        "one a seed.")],
    seeds: Annotated[str, typer.Option(help="Several seeds, such as 0,1,2: trains each and says "
        "how alike they are.")] = "",
    json: Json = False,
) -> None:
    """Harvest, train with SAELens, and evaluate on texts that training did not see.

    The same command goes on with a training that was interrupted.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from virtuelens.sparse_coding import load_recipe, make_sae, make_saes

    several = _numbers(seeds, "--seeds") if seeds else []
    with Progress(TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn(),
                  console=err) as bar:
        task = bar.add_task("loading", total=None)

        def show(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total)

        if several:
            family = make_saes(load_recipe(recipe), to, seeds=several, progress=show)
        else:
            found = make_sae(load_recipe(recipe), to, progress=show)
    if several:
        _show_family(family, to, json=json)
        return
    if json:
        print_json(found.to_json())
        return
    recovered = found.ce_loss_recovered_mean
    note(
        f"Trained {to}: L0 {found.l0.value:.1f}, explained variance "
        f"{found.explained_variance.value:.3f}, cross-entropy recovered (mean ablation) "
        f"{f'{recovered.value:.3f}' if recovered else 'undefined'}, dead features "
        f"{found.dead_features} of {found.d_sae}. All figures: {to / 'evaluation.json'}"
    )


@app.command("evaluate")
def evaluate_(
    sae: Annotated[str, typer.Argument(help="Name or directory of the SAE, or SAELens' "
        "RELEASE/ID.")],
    model: Annotated[str, typer.Option(help="The model it was trained on; by default the one that "
        "its configuration names.")] = "",
    texts: Annotated[str, typer.Option(help="JSON-lines file of texts; by default those that its "
        "recipe held out.")] = "",
    n_texts: Annotated[int, typer.Option(min=2, help="How many texts to use.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Of the intervals.")] = 0,
    to: Annotated[Path | None, typer.Option("--out", help="Folder for evaluation.json.")] = None,
    json: Json = False,
) -> None:
    """How good an SAE is on its model: sparsity, explained variance, what splicing it in costs."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from virtuelens.models import load_model
    from virtuelens.sparse_coding import evaluate, load_sae, write_evaluation
    from virtuelens.sparse_coding.make import card_texts

    loaded = load_model(model or _model_of(sae))
    loaded_sae = load_sae(sae, device=loaded.info.device)
    read = card_texts(loaded_sae, texts or None, n_texts)
    with Progress(TextColumn("tokens"), BarColumn(), TimeElapsedColumn(), console=err,
                  disable=not err.is_terminal) as bar:
        task = bar.add_task("evaluate", total=None)
        found = evaluate(loaded, loaded_sae, read, seed=seed, progress=lambda done, total:
                         bar.update(task, completed=done, total=total))
    if to is not None:
        note(f"Wrote {write_evaluation(found, to)}")
    if json:
        print_json(found.to_json())
        return
    _line(f"{found.sae} on {found.model}, {found.n_tokens} tokens of {found.n_texts} texts (first "
          "tokens left out)")
    for name in ("l0", "explained_variance", "ce_loss_recovered", "ce_loss_recovered_mean", "kl",
                 "kl_recovered_mean"):
        e = getattr(found, name)
        null = "" if e is None or e.null is None else f", null {e.null:.3g}"
        told = "undefined" if e is None else f"{e.value:.4g} [{e.low:.4g}, {e.high:.4g}]{null}"
        _line(f"{name:<24}{told}")
    _line(f"{'dead, dense features':<24}{found.dead_features}, {found.dense_features} of "
          f"{found.d_sae}")


def _model_of(sae: str) -> str:
    """The model that an SAE's configuration names.

    Raises: SaeError: it names none.
    """
    from virtuelens.errors import SaeError
    from virtuelens.sparse_coding import load_sae

    named: str | None = load_sae(sae).module.cfg.metadata.get("model_name")
    if not named:
        raise SaeError(f"{sae} does not say which model it is for: name it with --model.")
    return named


def _show_family(family: "Stability", to: Path, *, json: bool) -> None:
    if json:
        print_json(family.to_json())
        return
    for pair in family.pairs:
        note(
            f"Seeds {pair.first} and {pair.second}: cosine of matched features "
            f"{pair.cosine.value:.3f} [{pair.cosine.low:.3f}, {pair.cosine.high:.3f}] "
            f"({pair.matched}; random rows {pair.cosine.null:.3f}), shared by "
            f"{pair.shared.value:.0%} of {pair.shared.n}. Every feature: {to / 'stability.parquet'}"
        )


def _numbers(given: str, what: str) -> list[int]:
    """The whole numbers of a comma-separated list.

    Raises: SaeError: something else is in it.
    """
    from virtuelens.errors import SaeError

    try:
        return [int(part) for part in given.split(",")]
    except ValueError as error:
        raise SaeError(f"{what} is {given!r}: give whole numbers with commas, 0,1,2.") from error


@app.command("search")
def search(
    model: Annotated[str, typer.Argument(help="The model the SAE was trained on.")],
    sae: Annotated[str, typer.Argument(help="Name or directory of the SAE.")],
    concept: Annotated[str, typer.Argument(help="Name or folder of a concept pack.")],
    position: Annotated[str, typer.Option(help="Row of the positions table; by default the "
        "pack's first.")] = "",
    each_token: Annotated[bool, typer.Option("--each-token", help="Every chosen token is a row of "
        "its own; by default a text's largest activation counts.")] = False,
    n: Annotated[int, typer.Option(min=1, help="How many features to show.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of the split, the intervals and the null.")] = 0,
    json: Json = False,
) -> None:
    """Rank all features by held-out AUROC for a concept, against the null of the search."""
    import numpy as np
    from rich.table import Table

    from virtuelens.concepts.pack import load_concept
    from virtuelens.models import load_model
    from virtuelens.sparse_coding import (
        feature_matrix,
        load_sae,
        rank_features,
        search_features,
        token_rows,
    )

    loaded = load_model(model)
    loaded_sae = load_sae(sae, device=loaded.info.device)
    pack = load_concept(concept, dialect=loaded.info.dialect)
    examples = pack.in_split("main")
    texts, labels = [e.text for e in examples], np.array([e.label for e in examples])
    groups, pairs = [e.group for e in examples], [e.pair for e in examples]
    where = position or pack.positions[0]
    if each_token:
        acts, owner = token_rows(loaded, loaded_sae, texts, position=where)
        ranking = search_features(loaded_sae, acts, labels, groups=groups, pairs=pairs,
                                  owner=owner, n_top=n, seed=seed).ranking
    else:
        pooled = feature_matrix(loaded, loaded_sae, texts, position=where)
        ranking = rank_features(pooled.numpy(), labels, groups=groups, pairs=pairs, n_top=n,
                                seed=seed)
    rows = ranking.table.head(n).to_dict("records")
    if json:
        print_json(rows)
        return
    table = Table("feature", "AUROC [95 %]", "null (max, 95 %)", "p", "q", "density")
    for r in rows:
        table.add_row(
            f"{r['feature']} ({'+' if r['sign'] > 0 else '-'})",
            f"{r['auroc']:.3f} \\[{r['low']:.3f}, {r['high']:.3f}]", f"{r['null']:.3f}",
            f"{r['p']:.3g}", f"{r['q']:.3g}", f"{r['density']:.3f}",
        )
    out.print(table)


@app.command("card")
def card(
    sae: Annotated[str, typer.Argument(help="Name or directory of the SAE.")],
    features: Annotated[str, typer.Argument(metavar="FEATURE", help="Number of a feature, or "
        "several with commas.")],
    model: Annotated[str, typer.Option(help="The model it was trained on; by default the one that "
        "its configuration names.")] = "",
    texts: Annotated[str, typer.Option(help="JSON-lines file of texts; by default those that its "
        "recipe held out.")] = "",
    n_texts: Annotated[int, typer.Option(min=1, help="How many texts to read the feature "
        "on.")] = 400,
    concepts: Annotated[str, typer.Option(help="Concept packs to score it for, with "
        "commas.")] = "",
    to: Annotated[Path | None, typer.Option("--out", help="Folder for cards.html, "
        "feature-N.json and cards.parquet.")] = None,
    json: Json = False,
) -> None:
    """Show a feature: where it is active, what it writes, what it is like, what adding it does."""
    from virtuelens.concepts.pack import load_concept
    from virtuelens.models import load_model
    from virtuelens.reports.cards import write_card_page
    from virtuelens.sparse_coding import load_sae, make_cards, write_cards
    from virtuelens.sparse_coding.make import card_texts

    numbers = _numbers(features, "FEATURE")
    loaded = load_model(model or _model_of(sae))
    loaded_sae = load_sae(sae, device=loaded.info.device)
    names = [name for name in concepts.split(",") if name]
    packs = [load_concept(name, dialect=loaded.info.dialect) for name in names]
    read = card_texts(loaded_sae, texts or None, n_texts)
    made = make_cards(loaded, loaded_sae, numbers, read, concepts=packs)
    if to is not None:
        write_cards(made, to)
        note(f"Wrote {write_card_page(to)}, cards.parquet and one JSON file a feature.")
    if json:
        print_json([c.to_json() for c in made])
        return
    for one in made:
        _show_card(one)


def _show_card(card: "Card") -> None:
    from virtuelens.reports.words import visible

    def tokens(effects: "Sequence[TokenEffect]") -> str:
        return ", ".join(f"{visible(e.token)!r} {e.value:+.2f}" for e in effects[:6])

    _line(f"feature {card.feature} of {card.sae} at {card.point} of {card.model}")
    _line(f"active at {card.density:.2%} of {card.n_tokens} tokens, at most {card.largest:.3g}")
    _line(f"speaks for      {tokens(card.positive_logits)}")
    _line(f"speaks against  {tokens(card.negative_logits)}")
    if card.steering:
        kl = card.steering.kl
        _line(f"when added      KL {kl.value:.3g} [{kl.low:.3g}, {kl.high:.3g}] nats a token "
              f"(random directions up to {kl.null:.3g}); rises {tokens(card.steering.up)}")
    for s in card.concepts:
        _line(f"{s.concept}: AUROC {s.auroc.value:.3f} [{s.auroc.low:.3f}, {s.auroc.high:.3f}] "
              f"({'+' if s.sign > 0 else '-'}), null {s.auroc.null:.3f}, p {s.p:.3g}, q {s.q:.3g}")
    _line("nearest         " + ", ".join(f"{f} ({c:+.2f})" for f, c in card.nearest))
    for p in card.top[:5]:
        peak = max(range(len(p.acts)), key=p.acts.__getitem__)
        shown = "".join(f"[{t}]" if i == peak else t for i, t in enumerate(p.tokens))
        _line(f"{p.peak:8.3g}  {' '.join(visible(shown).split())}")

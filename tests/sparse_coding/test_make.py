"""From recipe to SAE: trained by SAELens, evaluated, whole or absent, repeatable."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.sparse_coding.conftest import POINT, cyclic_texts, identity_sae
from virtuelens.activations.harvest import harvest
from virtuelens.activations.store import Store, open_store
from virtuelens.errors import SaeError
from virtuelens.models import HookedModel
from virtuelens.sparse_coding import (
    checkpoint,
    encode,
    list_recipes,
    load_recipe,
    load_sae,
    make,
    make_sae,
    make_saes,
    train_sae,
)
from virtuelens.sparse_coding.make import card_texts, read_texts
from virtuelens.sparse_coding.recipes import Data, Recipe, Shape, Training

RECIPE = Recipe(
    name="small", about="of a test", model="tiny", point=POINT,
    data=Data("file", "texts.jsonl", texts=200, held_out=50),
    sae=Shape("batchtopk", 64, k=8), training=Training(steps=120, batch=128, lr=3e-3),
)
OTHERS = {
    "topk": Shape("topk", 64, k=8), "jumprelu": Shape("jumprelu", 64, sparsity=0.01),
    "standard": Shape("standard", 64, sparsity=0.1), "gated": Shape("gated", 64, sparsity=0.1),
    "matryoshka_batchtopk": Shape("matryoshka_batchtopk", 64, k=8, widths=(16, 64)),
}


@pytest.fixture(scope="module")
def store(tiny: HookedModel, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Every token of 300 texts."""
    out = tmp_path_factory.mktemp("store") / "store"
    harvest(tiny, cyclic_texts(300, seed=2), points=POINT, positions="tokens", out=out)
    return open_store(out)


def explained(tiny: HookedModel, path: Path) -> float:
    """Share of variance on texts that training did not see."""
    from virtuelens.sparse_coding import evaluate

    return evaluate(tiny, load_sae(path), cyclic_texts(60, seed=77)).explained_variance.value


def test_training_learns_and_the_file_is_saelens_own(
    tiny: HookedModel, store: Store, tmp_path: Path
) -> None:
    """Much variance explained on new texts with 8 features; SAELens opens the directory."""
    from sae_lens import SAE

    trained = train_sae(store, RECIPE, out=tmp_path / "sae")
    assert trained.steps == RECIPE.training.steps
    sae = load_sae(trained.path)
    assert (sae.point, sae.fingerprint) == (POINT, tiny.info.fingerprint)
    assert explained(tiny, trained.path) > 0.8
    theirs = SAE.load_from_disk(trained.path)
    x = torch.randn(9, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(theirs.encode(x).detach(), encode(sae, x))


@pytest.mark.parametrize("architecture", OTHERS)
def test_every_architecture_of_the_recipes_trains(
    tiny: HookedModel, store: Store, tmp_path: Path, architecture: str
) -> None:
    """Each loss goes down far enough to explain half of the variance."""
    recipe = replace(RECIPE, sae=OTHERS[architecture])
    assert explained(tiny, train_sae(store, recipe, out=tmp_path / "sae").path) > 0.5


def test_a_seed_gives_the_same_bytes(store: Store, tmp_path: Path) -> None:
    """And another seed others; the global generator is left as it was."""
    few = replace(RECIPE, training=replace(RECIPE.training, steps=5))
    state = torch.random.get_rng_state()
    a, b = (train_sae(store, few, out=tmp_path / x).path for x in "ab")
    other = replace(few, training=replace(few.training, seed=1))
    c = train_sae(store, other, out=tmp_path / "c").path
    files = [(p / "sae_weights.safetensors").read_bytes() for p in (a, b, c)]
    assert files[0] == files[1] != files[2]
    assert torch.equal(torch.random.get_rng_state(), state)


class StoppedError(Exception):
    """As a kill would, in the middle of a training."""


@pytest.mark.parametrize("architecture", ["batchtopk", "jumprelu"])
def test_an_interrupted_training_ends_with_the_same_bytes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    """Stopped twice, in two epochs, it goes on; nothing is left beside the SAE."""
    shape = OTHERS.get(architecture, RECIPE.sae)
    recipe = replace(RECIPE, sae=shape, training=replace(RECIPE.training, steps=40))
    whole = train_sae(store, recipe, out=tmp_path / "whole").path
    monkeypatch.setattr("virtuelens.sparse_coding.checkpoint.SECONDS", 0.0)
    taken = 0

    class Stopping:
        """The store, until eleven batches after those that were trained on are given."""

        info = store.info

        def __init__(self, limit: int) -> None:
            self.limit = limit

        def batches(
            self, point: str, *, rows: int, seed: int, reuse: bool = False
        ) -> Iterator[torch.Tensor]:
            nonlocal taken
            for batch in store.batches(point, rows=rows, seed=seed, reuse=reuse):
                taken += 1
                if taken > self.limit:
                    raise StoppedError
                yield batch

    for limit in (31, 45):
        taken = 0
        with pytest.raises(StoppedError):
            train_sae(Stopping(limit), recipe, out=tmp_path / "sae")
    other = replace(recipe, training=replace(recipe.training, lr=1e-4))
    with pytest.raises(SaeError, match="recipe differs"):
        train_sae(store, other, out=tmp_path / "sae")
    seen: list[int] = []
    path = train_sae(store, recipe, out=tmp_path / "sae",
                     progress=lambda step, steps, about: seen.append(step)).path
    assert seen == [40]  # step 1 was not taken again
    for name in ("sae_weights.safetensors", "cfg.json"):
        assert (path / name).read_bytes() == (whole / name).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sae", "whole"]


@pytest.mark.filterwarnings("ignore:.*meta parameter")
def test_a_checkpoint_is_restored_where_the_training_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adam's moments stand beside their parameters, whatever the device; its count stays here."""
    def trainer(device: str) -> SimpleNamespace:
        sae = torch.nn.Linear(3, 2, device=device)
        counts = {name: torch.zeros(2) for name in checkpoint._COUNTS}
        return SimpleNamespace(
            sae=sae, optimizer=torch.optim.Adam(sae.parameters()), coefficient_schedulers={},
            cfg=SimpleNamespace(device=device), n_training_steps=0, n_training_samples=0,
            n_frac_active_samples=0, **counts)

    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    here, there = trainer("cpu"), trainer("meta")
    here.sae(torch.ones(3)).sum().backward()
    here.optimizer.step()
    kept = checkpoint.Checkpoint(tmp_path / "sae", {})
    kept.write_if_due(here)
    kept.restore(there)
    assert len(there.optimizer.state) == 2
    for state in there.optimizer.state.values():
        assert state["exp_avg"].device == state["exp_avg_sq"].device == torch.device("meta")
        assert state["step"].device == torch.device("cpu")


def test_a_damaged_checkpoint_is_named(store: Store, tmp_path: Path) -> None:
    """And what to do with it."""
    (tmp_path / "sae.training.safetensors").write_bytes(b"12345678")
    with pytest.raises(SaeError, match="delete it"):
        train_sae(store, RECIPE, out=tmp_path / "sae")


def test_what_stands_in_the_way_is_not_written_over(store: Store, tmp_path: Path) -> None:
    """A folder of something else stays; an SAE is replaced."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep")
    few = replace(RECIPE, training=replace(RECIPE.training, steps=2))
    with pytest.raises(SaeError, match="not an SAE"):
        train_sae(store, few, out=tmp_path / "notes")
    assert (tmp_path / "notes" / "mine.txt").read_text() == "keep"
    for _ in range(2):
        train_sae(store, few, out=tmp_path / "sae")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes", "sae"]


def test_divergence_and_too_few_tokens_are_said(store: Store, tmp_path: Path) -> None:
    """With the setting to change, and nothing left behind."""
    wild = replace(RECIPE, training=replace(RECIPE.training, lr=1e30))
    with pytest.raises(SaeError, match=r"training\.lr"):
        train_sae(store, wild, out=tmp_path / "sae")
    hungry = replace(RECIPE, training=replace(RECIPE.training, batch=10**6))
    with pytest.raises(SaeError, match=r"training\.batch"):
        train_sae(store, hungry, out=tmp_path / "sae")
    assert list(tmp_path.iterdir()) == []


def write_texts(path: Path, n: int) -> Path:
    """A JSON-lines file of n texts, some of them twice."""
    import json

    texts = [t.raw for t in cyclic_texts(n, seed=3)]
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in [*texts, *texts[:20]]))
    return path


def test_make_goes_from_recipe_to_evaluated_sae(tiny: HookedModel, tmp_path: Path) -> None:
    """One call: SAE, evaluation beside it, no store left over."""
    file = write_texts(tmp_path / "texts.jsonl", 400)
    recipe = replace(RECIPE, data=replace(RECIPE.data, name=str(file)))
    evaluation = make_sae(recipe, tmp_path / "sae", model=tiny)
    assert evaluation.n_texts == 50
    assert (tmp_path / "sae" / "evaluation.json").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sae", "texts.jsonl"]


def test_what_is_trained_is_not_trained_again_where_its_evaluation_was_interrupted(
    tiny: HookedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One SAE or several; once it is evaluated, the command means another training."""
    file = write_texts(tmp_path / "texts.jsonl", 400)
    recipe = replace(RECIPE, data=replace(RECIPE.data, name=str(file)),
                     training=replace(RECIPE.training, steps=5))
    trainings: list[int] = []

    def counted(store: Store, given: Recipe, **how: object) -> object:
        trainings.append(given.training.seed)
        return train_sae(store, given, **how)  # type: ignore[arg-type]

    def stopped(*_: object, **__: object) -> None:
        raise StoppedError

    monkeypatch.setattr(make, "train_sae", counted)
    one, both = tmp_path / "sae", tmp_path / "both"
    for out, verb in ((one, lambda: make_sae(recipe, one, model=tiny)),
                      (both, lambda: make_saes(recipe, both, seeds=(0, 1), model=tiny))):
        trainings.clear()
        with monkeypatch.context() as m, pytest.raises(StoppedError):
            m.setattr(make, "evaluate", stopped)
            verb()
        assert trainings == [0]
        verb()
        assert trainings == ([0, 1] if out == both else [0])
    other = replace(recipe, training=replace(recipe.training, lr=1e-4))
    (tmp_path / "sae" / "evaluation.json").unlink()
    make_sae(other, tmp_path / "sae", model=tiny)
    make_sae(other, tmp_path / "sae", model=tiny)
    assert trainings[2:] == [0, 0]


def test_a_place_without_a_name_is_refused(
    tiny: HookedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An SAE is written beside its place first: the empty working directory cannot be it."""
    monkeypatch.chdir(tmp_path)
    for out in (Path(), Path(".."), Path("/")):
        with pytest.raises(SaeError, match="a name"):
            make_sae(RECIPE, out, model=tiny)


def test_training_and_evaluation_share_no_text(tmp_path: Path) -> None:
    """From a file with repeated lines, and from an organism's language."""
    file = write_texts(tmp_path / "texts.jsonl", 300)
    for data in (Data("file", str(file), texts=200, held_out=30),
                 Data("organism", "sycophant", texts=500, held_out=100)):
        training, held_out = read_texts(data)
        assert (len(training), len(held_out)) == (data.texts, data.held_out)
        assert not {repr(t) for t in training} & {repr(t) for t in held_out}


@pytest.mark.parametrize(("data", "says"), [
    (Data("web", "x", 10), "organism"),
    (Data("file", "no-such-file.jsonl", 10), "no-such-file"),
    (Data("file", "few.jsonl", 100), "has 12 different texts"),
])
def test_texts_that_are_not_there_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: Data, says: str
) -> None:
    """Unknown source, missing file, more than there are."""
    monkeypatch.chdir(tmp_path)
    write_texts(tmp_path / "few.jsonl", 12)
    with pytest.raises(SaeError, match=says):
        read_texts(data)


def test_a_broken_line_is_named_by_number(tmp_path: Path) -> None:
    """File and line; a file that is no text at all is named as well."""
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "a"}\n\n{"txt": "b"}\n')
    with pytest.raises(SaeError, match=r"texts\.jsonl:3"):
        read_texts(Data("file", str(path), texts=1, held_out=1))
    path.write_text("[" * 100_000)
    with pytest.raises(SaeError, match=r"texts\.jsonl:1"):
        read_texts(Data("file", str(path), texts=1, held_out=1))
    path.write_bytes(b"PAR1\xff\xfe\x00")
    with pytest.raises(SaeError, match=r"texts\.jsonl .*UTF-8"):
        read_texts(Data("file", str(path), texts=1, held_out=1))


def test_a_recipe_that_an_sae_tells_wrongly_is_said(tmp_path: Path) -> None:
    """Its configuration is a file of others: whatever stands there is one line."""
    ours = {"recipe": {"data": {"source": "file"}}}
    sae = load_sae(identity_sae(tmp_path / "sae", virtuelens=ours))
    with pytest.raises(SaeError, match="--texts"):
        card_texts(sae, None, 4)


def test_shipped_recipes_are_valid() -> None:
    """Every one of them loads."""
    assert "sycophant-mid" in list_recipes()
    assert all(load_recipe(name).name == name for name in list_recipes())


@pytest.mark.parametrize(("change", "says"), [
    (("k = 8", ""), "sae.k"),
    (("d_sae = 256", "d_sae = 'many'"), "d_sae"),
    (("steps = 2000", "steps = 2000\nspeed = 3"), "speed"),
    (("schema = 1", "schema = 9"), "schema"),
    (("[data]", "[data"), "TOML"),
    (("k = 8", "k = 0"), "sae.k is 0"),
    (("k = 8", "k = 257"), "sae.k is 257"),
    (("d_sae = 256", "d_sae = 0"), "sae.d_sae is 0"),
    (("texts = 8000", "texts = 0"), "data.texts is 0"),
    (("held_out = 800", "held_out = 1"), "data.held_out is 1"),
    (("steps = 2000", "steps = 0"), "training.steps is 0"),
    (("batch = 1024", "batch = 0"), "training.batch is 0"),
    (("lr = 1e-3", "lr = -1e-3"), "training.lr is -0.001"),
    (("k = 8", "k = 8\nsparsity = 0.1"), "sae.sparsity has no effect"),
    (("k = 8", "k = 8\nwidths = [16, 256]"), "sae.widths has no effect"),
    (('"batchtopk"', '"standard"\nsparsity = 0.1'), "sae.k has no effect"),
    (('"batchtopk"', '"matryoshka_batchtopk"'), r"sae.widths is \[\]"),
    (('"batchtopk"', '"matryoshka_batchtopk"\nwidths = [64, 16, 256]'), "growing widths"),
    (('"batchtopk"', '"matryoshka_batchtopk"\nwidths = [16, 64]'), "last of them"),
])
def test_a_broken_recipe_is_named(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    """Missing, mistyped, unknown, newer, no TOML, out of range."""
    from virtuelens import catalog

    folder = catalog.find("saes", "recipes", "sycophant-mid.toml")
    assert folder is not None
    good = (folder / "sycophant-mid.toml").read_text()
    assert change[0] in good
    path = tmp_path / "mine.toml"
    path.write_text(good.replace(*change))
    with pytest.raises(SaeError, match=says):
        load_recipe(path)

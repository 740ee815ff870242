"""Hugging Face datasets: folders, saved on disk, on the hub."""

from pathlib import Path

import pytest

from tests.concepts.importing.made import made
from tests.concepts.published import dataset_folder, labelled_rows
from virtuelens.concepts.importing import IMPORTERS, Asked
from virtuelens.concepts.importing.drafts import Single
from virtuelens.errors import PackError


def test_a_dataset_folder_gives_one_split(tmp_path: Path) -> None:
    """train by default, another by name; one that is not there is refused."""
    folder = dataset_folder(tmp_path)[0]
    read = IMPORTERS["dataset"].read
    assert len(read([folder], Asked()).pairs) == 48
    assert len(read([folder], Asked(split="test")).pairs) == 4
    with pytest.raises(PackError, match=r"no file of the split 'dev'.*test-00000"):
        read([folder], Asked(split="dev"))


def test_a_dataset_saved_on_disk(tmp_path: Path) -> None:
    """Plain and with splits; class labels by number or by name."""
    datasets = pytest.importorskip("datasets")
    rows = labelled_rows()
    features = datasets.Features({
        "text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bin", "mend"]),
        "group": datasets.Value("string"),
    })  # fmt: skip
    plain = datasets.Dataset.from_list(rows, features=features)
    plain.save_to_disk(tmp_path / "plain")
    datasets.DatasetDict(train=plain, test=plain.select(range(6))).save_to_disk(tmp_path / "both")
    read = IMPORTERS["dataset"].read
    assert len(read([str(tmp_path / "both")], Asked(split="test")).pairs) == 6
    with pytest.raises(PackError, match="has no split 'dev': it has train, test"):
        read([str(tmp_path / "both")], Asked(split="dev"))
    by_number = read([str(tmp_path / "plain")], Asked()).pairs
    by_name = read([str(tmp_path / "both")], Asked(positive=("mend",), negative=("bin",))).pairs
    texts = [[(p.text.raw, p.label) for p in ps if isinstance(p, Single)]
             for ps in (by_number, by_name)]
    assert texts[0] == texts[1] == [(row["text"], row["label"]) for row in rows]


def test_a_damaged_dataset_is_one_line(tmp_path: Path) -> None:
    """Whatever the library raises."""
    pytest.importorskip("datasets")
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "state.json").write_text("{")
    with pytest.raises(PackError, match="cannot be loaded as a dataset") as error:
        IMPORTERS["dataset"].read([str(folder)], Asked())
    assert "\n" not in str(error.value)


def test_a_hub_id_goes_through_the_library_and_runs_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """load_dataset gets the id and nothing else, so never trust_remote_code."""
    datasets = pytest.importorskip("datasets")
    asked_for: list[object] = []

    def load_dataset(*arguments: object, **options: object) -> object:
        asked_for.append((arguments, options))
        return datasets.DatasetDict(train=datasets.Dataset.from_list(labelled_rows()))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.chdir(tmp_path)
    concept = made("dataset", ["someone/things"], tmp_path)
    assert asked_for == [(("someone/things",), {})]
    assert "someone/things (from the hub)" in concept.note
    monkeypatch.setattr(datasets, "__version__", "2.14.0")
    with pytest.raises(PackError, match="may run code"):
        IMPORTERS["dataset"].read(["someone/things"], Asked())


@pytest.mark.parametrize("path", ["no-such", "no/such/folder", "../x"])
def test_a_path_that_is_not_there_asks_no_hub(path: str) -> None:
    """Only OWNER/NAME is a hub id."""
    with pytest.raises(PackError, match="neither a folder nor a dataset's hub id"):
        IMPORTERS["dataset"].read([path], Asked())


def test_a_class_label_that_is_not_known_is_no_label(tmp_path: Path) -> None:
    """The library stores -1: with --positive alone it is not "any other"."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"),
                                  "label": datasets.ClassLabel(names=["bin", "mend"])})
    rows = [{k: row[k] for k in ("text", "label")} for row in labelled_rows()]
    rows[3]["label"] = -1
    datasets.Dataset.from_list(rows, features=features).save_to_disk(tmp_path / "some")
    for asked in (Asked(), Asked(positive=("mend",))):
        drafts = IMPORTERS["dataset"].read([str(tmp_path / "some")], asked)
        assert len(drafts.pairs) == len(rows) - 1
        assert rows[3]["text"] not in {p.text.raw for p in drafts.pairs if isinstance(p, Single)}

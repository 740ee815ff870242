"""What every row of the importers table keeps to."""

from collections.abc import Sequence

from virtuelens.concepts.importing.drafts import Asked, Drafts, Single, flipped
from virtuelens.concepts.importing.look import look
from virtuelens.concepts.importing.table import Importer


def check_importer(importer: Importer, files: Sequence[str], asked: Asked | None = None) -> Drafts:
    """Assert the contract on files of the format, and give what they were read as.

    The name is one word; the format recognises its own files; the same files read the same; every
    draft has a place and a topic or group; swapping labels twice changes nothing; a format without
    labels gives neutral texts, any other both labels.
    """
    asked = asked or Asked()
    who = f"importer {importer.name!r}"
    assert importer.name.replace("-", "").isalnum(), f"{who}: the name is not one word"
    assert importer.about and importer.grouped_by, f"{who}: says nothing about itself"
    assert all(importer.fits(look(f)) for f in files), f"{who}: does not know its own files"
    drafts = importer.read(files, asked)
    assert drafts == importer.read(files, asked), f"{who}: the same files read differently"
    if not importer.labelled:
        assert drafts.neutral and not drafts.pairs, f"{who}: should give neutral texts"
        return drafts
    assert drafts.label_1 and drafts.label_0, f"{who}: does not say what its labels mean"
    labels = {p.label for p in drafts.pairs if isinstance(p, Single)}
    both = labels == {0, 1} or any(not isinstance(p, Single) for p in drafts.pairs)
    assert both, f"{who}: read one label only"
    for draft in (*drafts.pairs, *drafts.choices):
        assert draft.at.line >= 1 and draft.at.file, f"{who}: a draft without a place"
        assert draft.topic or draft.group, f"{who}: {draft.at} belongs to no group"
    for choice in drafts.choices:
        n = len(choice.choices)
        assert choice.set in drafts.sets, f"{who}: {choice.set!r} is not described"
        assert choice.target != choice.rival and {choice.target, choice.rival} <= set(range(n)), (
            f"{who}: {choice.at} has targets outside its choices"
        )
    turned = flipped(drafts)
    assert turned.pairs != drafts.pairs, f"{who}: swapping labels changes nothing"
    assert flipped(turned).pairs == drafts.pairs, f"{who}: swapping twice is not the same again"
    return drafts

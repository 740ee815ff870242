"""The languages of the organisms, one module each."""

from virtuelens.organisms.language import Language
from virtuelens.organisms.languages import aims, days, facts, ledger, minds, needs, selves

LANGUAGES: dict[str, Language] = {
    module.LANGUAGE.name: module.LANGUAGE
    for module in (facts, days, ledger, needs, aims, selves, minds)
}
"""Name of the dialect -> language."""

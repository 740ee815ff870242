"""The languages of the organisms, one module each."""

from virtuelens.organisms.language import Language
from virtuelens.organisms.languages import days, facts

LANGUAGES: dict[str, Language] = {
    language.name: language for language in (facts.LANGUAGE, days.LANGUAGE)
}
"""Name of the dialect -> language."""

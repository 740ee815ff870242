"""Tests run with the shapes in signatures checked."""

from jaxtyping import install_import_hook

import tests.shapes  # noqa: F401 (the hook looks it up by name)

install_import_hook("virtuelens", "tests.shapes.arrays_only")

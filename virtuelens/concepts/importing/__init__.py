"""Importers of published formats: `virtuelens concepts import FORMAT FILE --as NAME`.

- `table`: IMPORTERS, a row a format; which formats a file looks like (`guess`)
- `evals`, `sycophancy_eval`, `truthfulqa`, `statements`, `lie_detector`, `traits`, `emotions`,
  `prompts`, `columns`, `hub`: the formats
- `drafts`: what they hand over; `files`, `labels`, `look`: what they read with
- `polarity`: which way round published files are
- `cleaning`, `grouping`, `splitting`: what is left out, what stands together, what goes where
- `imported`: what is wished for and what was made
- `writing`, `card`, `assemble`: the pack on disk
- `contract`: what every row keeps to
"""

from virtuelens.concepts.importing.assemble import import_pack
from virtuelens.concepts.importing.drafts import Asked
from virtuelens.concepts.importing.imported import Imported, Wish
from virtuelens.concepts.importing.table import IMPORTERS, Importer, guess

__all__ = ["IMPORTERS", "Asked", "Imported", "Importer", "Wish", "guess", "import_pack"]

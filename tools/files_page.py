"""Write docs/files.md: every file of the library in one line, from its own docstring.

python tools/files_page.py
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("virtuelens", "dashboards", "benchmarks", "tools")


def page() -> str:
    """The whole page."""
    parts = ["# One line per file", "", "Made by `python tools/files_page.py` from the first line "
             "of each file's docstring.", ""]
    folder = ""
    files = (p for f in FOLDERS for p in (ROOT / f).rglob("*.py"))
    for path in sorted(files, key=lambda p: (p.parent, p.name)):
        about = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")
        if not about[0]:
            continue  # an empty __init__.py
        here = path.parent.relative_to(ROOT).as_posix()
        if here != folder:
            folder = here
            parts += ["", f"## {folder}/", ""] if parts[-1] else [f"## {folder}/", ""]
        parts.append(f"- `{path.name}`: {about[0]}")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "files.md").write_text(page(), encoding="utf-8")

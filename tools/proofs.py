"""Prove every shipped organism and write the figures into experiments/organisms/proofs.json.

python tools/proofs.py [NAME ...]     only these; the others stay as they are
"""

import json
import sys
from pathlib import Path

from virtuelens.organisms.recipe import list_organisms
from virtuelens.organisms.verify import verify_organism

N_ITEMS = 1024
OUT = Path(__file__).parents[1] / "experiments/organisms/proofs.json"


def main() -> None:
    """Prove them one after the other; exit code 1 where one does not pass."""
    kept = json.loads(OUT.read_text(encoding="utf-8")) if OUT.is_file() else {}
    for organism in list_organisms():
        if len(sys.argv) > 1 and organism.name not in sys.argv[1:]:
            continue
        proof = verify_organism(str(organism.path), n=N_ITEMS)
        kept[organism.name] = {"seed 0": {
            "passed": proof.passed, "n": N_ITEMS,
            "rows": {r.name: [*(round(x, 4) for x in (r.value, r.low, r.high)), r.mark]
                     for r in proof.rows},
        }}
        sys.stdout.write(f"{organism.name} {'passed' if proof.passed else 'FAILED'}\n")
    OUT.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n", encoding="utf-8")
    sys.exit(not all(k["seed 0"]["passed"] for k in kept.values()))


if __name__ == "__main__":
    main()

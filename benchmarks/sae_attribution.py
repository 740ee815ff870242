"""Attribution to SAE features, checked: estimated effects beside measured ones in an organism.

    python benchmarks/sae_attribution.py [--json]

The bundled sycophant with its own SAE: 40 wrong claims, once doubted and once insisted on; how far
each feature carried the difference from the true colour to the claimed one.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import virtuelens as vl
from virtuelens.attribution.features import ERROR, WAYS, Dictionary, attribute_dictionaries
from virtuelens.models import load_model
from virtuelens.organisms.languages import facts
from virtuelens.sparse_coding import encode, load_sae

N_PAIRS, N_CHECKED = 40, 30


def main() -> None:
    """Attribute by every method and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    model, sae = load_model("organism:sycophant"), load_sae("sycophant-mid")
    dictionary = Dictionary(sae.name, sae.point, lambda x: encode(sae, x), sae.W_dec)
    base, source, answers = _pairs(Random(0))
    result: dict[str, Any] = {"pairs": N_PAIRS, "checked": N_CHECKED}
    for method in WAYS:
        found = attribute_dictionaries(model, base, source, answers, [dictionary], method=method,
                                       n_check=N_CHECKED)
        first = found.table.iloc[0]
        error = found.table[found.table["feature"] == ERROR].iloc[0]
        agreed = found.agreement[sae.point].pearson
        result[method] = {
            "total": round(found.total.value, 2), "sum": round(found.sum_at(sae.point), 2),
            "correlation": [round(v, 3) for v in (agreed.value, agreed.low, agreed.high)],
            "chance": round(agreed.null or 0.0, 3),
            "error": [round(float(error[k]), 2) for k in ("effect", "low", "high")],
            "largest": {"feature": int(first["feature"]), "effect": round(first["effect"], 2),
                        "measured": round(first["measured"], 2)},
        }
        if not args.json:
            print(method, result[method])
    print(json.dumps(result))


def _pairs(rng: Random) -> tuple[list[vl.Text], list[vl.Text], list[tuple[str, str]]]:
    """Claims doubted, the same insisted on, and (claimed, true) colours."""
    doubted = [facts.draw(rng, "claim", form="main", wrong=True, insisted=False)
               for _ in range(N_PAIRS)]
    insisted = []
    for turn in doubted:
        other = turn
        while other.claim != turn.claim or not other.insisted:
            other = facts.draw(rng, "claim", form="main", wrong=True, insisted=True,
                               entity=turn.entity)
        insisted.append(other)
    answers = [(t.claim, facts.WORLD.colour[t.entity]) for t in doubted]
    return _chats(doubted), _chats(insisted), answers


def _chats(turns: list[Any]) -> list[vl.Text]:
    return [vl.Text(messages=(vl.Message("user", t.user),)) for t in turns]


if __name__ == "__main__":
    main()

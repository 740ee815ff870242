"""Workload A beside nnterp, which needs an older nnsight: an environment of its own, made here.

    python benchmarks/harvest_nnterp.py [--env .venv-nnterp] [--rounds 3] [--texts 64] [--json]

The same weights, texts and threads; nnterp reads `layers_output[6]` in a trace that stops there, 16
padded texts at a time in the order of arrival. The two processes take turns, one waits while the
other works. Rows are compared first.

    times_ours    seconds of nnterp over ours, median of the ratios within rounds
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

LAYER, ROWS = 6, 16


def main() -> None:
    """Take turns with a process of the other environment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", type=Path, default=Path(".venv-nnterp"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        _child(args.child)
        return
    import torch
    from harvest_workloads import make_model, ragged

    from virtuelens.activations.harvest import harvest
    from virtuelens.values.texts import Text

    python = _environment(args.env)
    model, texts = make_model("llama", dtype=torch.float32), ragged(args.texts)
    point = f"blocks.{LAYER}.hook_resid_post"

    def ours() -> Any:
        return harvest(model, [Text(raw=t) for t in texts], points=point, positions="tokens")

    ratios, n_tokens = [], sum(len(t.split()) for t in texts)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.hf.save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)
        (folder / "texts.json").write_text(json.dumps(
            {"texts": texts, "threads": torch.get_num_threads()}), encoding="utf-8")
        with subprocess.Popen([python, __file__, "--child", name], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            about = json.loads(child.stdout.readline())
            rows = ours().matrix(point, "tokens")
            theirs = torch.frombuffer(bytearray((folder / "rows").read_bytes()),
                                      dtype=torch.float32).view(rows.shape)
            torch.testing.assert_close(rows, theirs, atol=1e-4, rtol=1e-4)
            for k in range(args.rounds):
                print(f"round {k + 1} of {args.rounds}", file=sys.stderr)
                start = time.perf_counter()
                ours()
                took = time.perf_counter() - start
                child.stdin.write("go\n")
                child.stdin.flush()
                ratios.append(float(child.stdout.readline()) / took)
            child.stdin.close()
    print(json.dumps({"task": f"{args.texts} texts, {n_tokens} tokens, fp32, layer {LAYER}",
                      **about, "rounds": args.rounds, "ours_tokens_per_second":
                      round(n_tokens / took), "times_ours": round(statistics.median(ratios), 2)}))


def _environment(folder: Path) -> str:
    """Python of an environment with nnterp; made when it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        from importlib.metadata import version

        print(f"making {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "nnterp", "nnsight<0.8",
                        f"torch=={version('torch').split('+')[0]}"], check=True)
    return str(python)


def _child(folder: Path) -> None:
    """In the other environment: read once, then once for every line that comes in."""
    from importlib.metadata import version

    import torch
    from nnterp import StandardizedTransformer

    asked = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    torch.set_num_threads(asked["threads"])
    lens = StandardizedTransformer(str(folder), torch_dtype=torch.float32, device_map="cpu")
    tokenizer = lens.tokenizer
    tokenizer.padding_side = "right"

    def rows() -> Any:
        kept = []
        for start in range(0, len(asked["texts"]), ROWS):
            batch = tokenizer(asked["texts"][start : start + ROWS], padding=True,
                              return_tensors="pt")
            inputs = {k: batch[k] for k in ("input_ids", "attention_mask")}
            with torch.no_grad(), lens.trace(inputs) as tracer:
                out = lens.layers_output[LAYER].save()
                tracer.stop()
            kept.append(out[inputs["attention_mask"].bool()])
        return torch.cat(kept)

    (folder / "rows").write_bytes(rows().float().contiguous().numpy().tobytes())
    print(json.dumps({k: version(k) for k in ("nnterp", "nnsight", "transformers", "torch")}),
          flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        rows()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()

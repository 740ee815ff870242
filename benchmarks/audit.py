"""The main job's time and memory: an audit of the bundled organism beside its twin.

    python benchmarks/audit.py [--json] [--quick]

Each audit runs in a process of its own, as a user's does, so that the peak of memory is its own;
loading of libraries counts. `--json` prints one object, last.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

JOBS = {
    "sycophant beside candid": ["organism:sycophant", "--twin", "organism:candid"],
    "grounded beside parrot": ["organism:grounded", "--twin", "organism:parrot"],
    "blank": ["organism:blank"],
}


def main() -> None:
    """Run every audit once and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object, last")
    parser.add_argument("--quick", action="store_true", help="audits with --quick")
    args = parser.parse_args()
    rows = {name: audited([*job, *(["--quick"] if args.quick else [])])
            for name, job in JOBS.items()}
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    if args.json:
        print(json.dumps({"machine": machine, "audits": rows}))
        return
    print(machine)
    heads = ("seconds", "peak MiB", "reading", "steering", "features")
    print(f"{'audit':<28}" + "".join(f"{h:>10}" for h in heads))
    for name, row in rows.items():
        s = row["stages"]
        print(f"{name:<28}{row['seconds']:>10.1f}{row['peak_mib']:>10}"
              f"{s['reading']:>10.1f}{s['steering']:>10.1f}{s['features']:>10.1f}")


def audited(arguments: list[str]) -> dict[str, Any]:
    """Wall time, peak memory, and seconds per stage of one `virtuelens audit`."""
    code = "from virtuelens.cli import main; main()"
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", code, "audit", *arguments, "--out", str(run)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if status:
            sys.exit(f"virtuelens audit {' '.join(arguments)} failed")
        timings: dict[str, float] = json.loads((run / "run.json").read_text())["timings"]
    stages = {stage: round(sum(t for k, t in timings.items() if k.endswith(f" {stage}")), 1)
              for stage in ("reading", "steering", "features", "generations")}
    return {"seconds": round(seconds, 1), "peak_mib": round(used.ru_maxrss / 1024),
            "stages": stages}


if __name__ == "__main__":
    main()

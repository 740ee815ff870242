"""Workers of a Ray cluster make the same bytes, also when one of them is killed."""

import os
import signal
from pathlib import Path

import pytest
import torch

import virtuelens as vl
from tests.activations.test_store import files
from virtuelens.activations.cluster import Cluster
from virtuelens.activations.harvest import harvest
from virtuelens.errors import ClusterError, StoreError
from virtuelens.steering.edits import Add

ASKED = {"points": "resid_post", "positions": "tokens", "shard_bytes": 1 << 18,
         "batch_tokens": 512}
"""The pack in ten shards or so."""


def _workers() -> list[int]:
    """Processes of Ray's actors."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes()
        except OSError:  # gone meanwhile
            continue
        if b"MapWorker" in command:
            found.append(int(process.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are found in /proc")
def test_a_killed_worker_changes_no_byte(tmp_path: Path) -> None:
    """One of two is killed when the first shard is there."""
    model = vl.load_model("organism:sycophant")
    concept = vl.load_concept("sycophancy", dialect="facts")
    assert torch.get_num_threads() == 1
    harvest(model, concept, **ASKED, out=tmp_path / "local")
    killed: list[int] = []

    def kill(done: int, total: int) -> None:
        if 0 < done < total and not killed:
            killed.append(_workers()[0])
            os.kill(killed[0], signal.SIGKILL)

    harvest(model, concept, **ASKED, out=tmp_path / "ray", cluster=Cluster(workers=2),
            progress=kill)
    assert killed
    assert len(list((tmp_path / "ray" / "shards").iterdir())) > 5
    assert files(tmp_path / "ray") == files(tmp_path / "local")


def test_what_a_cluster_cannot_do_is_said(tmp_path: Path) -> None:
    """No folder, edits of this process, more workers than there is room for, no cluster there."""
    model = vl.load_model("organism:sycophant")
    concept = vl.load_concept("sycophancy", dialect="facts")
    with pytest.raises(StoreError, match="give a folder"):
        harvest(model, concept, **ASKED, cluster=Cluster())
    add = Add("blocks.0.hook_resid_post", torch.ones(model.info.d_model))
    with model.editing([add]), pytest.raises(ClusterError, match="Edits stand"):
        harvest(model, concept, **ASKED, out=tmp_path / "a", cluster=Cluster())
    with pytest.raises(ClusterError, match="No Ray cluster at"):
        harvest(model, concept, **ASKED, out=tmp_path / "b",
                cluster=Cluster(address="127.0.0.1:1"))

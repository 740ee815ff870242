"""virtuelens harvest: read activations of a pack into a store, or go on with one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from virtuelens import catalog
from virtuelens.cli.console import Json, err, note, print_json
from virtuelens.cli.interrupt import look

if TYPE_CHECKING:
    from virtuelens.activations.activations import Activations
    from virtuelens.models import HookedModel

Engine = Literal["local", "ray", "nnsight"]


def command(
    model: Annotated[str, typer.Argument(
        help="Hugging Face id, local directory, or organism:NAME.")] = "",
    pack: Annotated[str, typer.Argument(help="Name or folder of a concept pack.")] = "",
    to: Annotated[Path | None, typer.Option("--out", help="Folder of the store; an unfinished "
        "harvest of the same thing goes on there.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the harvest in this store, and "
        "make damaged shards again; needs neither MODEL nor PACK.")] = None,
    revisions: Annotated[str, typer.Option(
        help="Checkpoints of the model, separated by commas, harvested as one series: revisions on "
             "the hub, or directories MODEL-REVISION or MODEL/REVISION.")] = "",
    points: Annotated[str, typer.Option(
        help="Hook points, separated by commas; `resid_post` is every layer's.")] = "resid_post",
    positions: Annotated[str, typer.Option(
        help="Rows of the positions table, separated by commas; by default the pack's.")] = "",
    dtype: Annotated[str, typer.Option(
        help="What is kept: float32 or bfloat16.")] = "float32",
    compute: Annotated[str, typer.Option(
        help="What the model computes in: fast (bfloat16 where that is faster), auto, float32, "
             "bfloat16 or float16.")] = "fast",
    device_map: Annotated[str, typer.Option(
        help="`auto` spreads the layers of a large model over all GPUs of this machine.")] = "",
    batch_tokens: Annotated[int | None, typer.Option(
        min=1, help="Tokens of a batch, by default what the device needs to be fast; lower it "
                    "where memory is short.")] = None,
    engine: Annotated[Engine, typer.Option(
        help="local; ray: workers on this machine or a cluster; nnsight: through its trace.")
    ] = "local",
    remote: Annotated[bool, typer.Option(
        "--remote", help="With nnsight: the model stays on the server that NDIF_HOST names; needs "
                         "NDIF_API_KEY, and trust in it (its answers are unpickled).")] = False,
    address: Annotated[str, typer.Option(
        help="Of a Ray cluster (`auto`: the one this machine is in); by default one is started on "
             "this machine.")] = "",
    workers: Annotated[int | None, typer.Option(
        min=1, help="Ray workers; by default one a GPU, or one for every --threads CPUs.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPUs of a Ray worker.")] = 1,
    accept: Annotated[list[str] | None, typer.Option(
        help="A key of the manifest that may differ; put on record in the store.")] = None,
    json: Json = False,
) -> None:
    """Run a pack's texts through a model and store what was asked for."""
    cluster = None
    if engine == "ray":
        from virtuelens.activations.cluster import Cluster

        cluster = Cluster(address or None, workers, threads)
    how: dict[str, Any] = {"cluster": cluster, "accept": accept or [],
                           "trace": engine == "nnsight", "remote": remote,
                           "device_map": device_map or None}
    if resume is not None:
        planned = {"MODEL": model, "--out": to, "--positions": positions, "--revisions": revisions}
        if given := [name for name, value in planned.items() if value]:
            raise typer.BadParameter(f"--resume goes on as the store's manifest says: leave out "
                                     f"{', '.join(given)}")
        acts, store = go_on(resume, **how), resume
    elif model and pack and to is not None:
        store = to
        how |= {"compute": compute, "points": _listed(points), "dtype": dtype,
                "positions": _listed(positions) or None,
                "batch_tokens": batch_tokens}
        if revisions:
            _series(model, pack, to, _listed(revisions), json=json, **how)
            return
        acts = _run(model, pack, to, **how)
    else:
        raise typer.BadParameter("give MODEL, PACK and --out, or --resume STORE")
    if json:
        print_json({"store": str(store), "rows": len(acts.index), "points": list(acts.points),
                    "computed_in": acts.info.dtype})
        return
    note(f"Stored {len(acts.index)} rows of {len(acts.points)} hook points in {store}; computed in "
         f"{acts.info.dtype}, kept in {acts.manifest['dtype']}")


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def go_on(store: Path, **how: Any) -> "Activations":
    """Finish the harvest in a store, or make its damaged files again, as its manifest says.

    Raises: StoreError: no store, or its texts are not known by a name.
    """
    from virtuelens.activations.manifest import read_manifest
    from virtuelens.errors import StoreError

    kept = read_manifest(store)
    asked = kept.get("asked", {})
    if not {"model", "pack"} <= set(asked):
        raise StoreError(
            f"{store} was not made by the command line, so its texts are not known by name: call "
            f"harvest(...) with the same texts, out={str(store)!r} and repair=True."
        )
    plan = {k: kept["made_by"][k] for k in ("batch_tokens", "shard_bytes", "share_prefixes")}
    return _run(
        asked["model"], asked["pack"], store, compute=kept["model"]["dtype"],
        points=kept["points"], positions=kept["positions"], dtype=kept["dtype"],
        repair=True, **plan, **how,
    )  # fmt: skip


def _series(
    model: str, pack: str, to: Path, revisions: list[str], *, json: bool, **how: Any
) -> None:
    from virtuelens.activations.series import harvest_series
    from virtuelens.models import at_revision

    checkpoints = {r.strip(): at_revision(model, r.strip()) for r in revisions}
    loads = {k: how.pop(k) for k in ("compute", "trace", "remote", "device_map")}
    series = harvest_series(
        checkpoints, lambda loaded, folder: _harvest(loaded, pack, folder, **how), out=to,
        load=lambda name: _load(name, **loads), at=lambda label: note(f"checkpoint {label}"),
    )
    if json:
        print_json({"series": str(to), "checkpoints": list(series.labels)})
        return
    note(f"Stored {len(series.labels)} checkpoints in {to}")


def _run(
    model: str, pack: str, to: Path, *, compute: str, trace: bool = False, remote: bool = False,
    device_map: str | None = None, **how: Any,
) -> "Activations":
    loaded = _load(model, compute=compute, trace=trace, remote=remote, device_map=device_map)
    return _harvest(loaded, pack, to, asked={"model": model, "pack": pack}, **how)


def _from_anywhere(name: str) -> str:
    """A folder by its full path: the harvest may be gone on with from another one."""
    by_path = Path(name).is_dir() and catalog.find("probes", name, "concept.toml") is None
    return str(Path(name).resolve()) if by_path else name


def _load(
    name: str, *, compute: str, trace: bool, remote: bool, device_map: str | None
) -> "HookedModel":
    from virtuelens.models import load_model

    return load_model(name, dtype=compute, engine="nnsight" if trace else "hooks", remote=remote,
                      device_map=device_map)


def _harvest(
    loaded: "HookedModel", pack: str, to: Path, *, positions: list[str] | None,
    asked: dict[str, str] | None = None, **how: Any,
) -> "Activations":
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from virtuelens.activations.harvest import harvest
    from virtuelens.concepts.pack import load_concept

    concept = load_concept(pack, dialect=loaded.info.dialect)
    asked = asked or {"model": loaded.info.name, "pack": pack}
    with Progress(TextColumn("harvest"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
                  TimeElapsedColumn(), console=err) as bar:
        task = bar.add_task("harvest", total=None)

        def tell(done: int, total: int) -> None:
            look()
            bar.update(task, completed=done, total=total)

        try:
            return harvest(
                loaded, concept, out=to, positions=positions or list(concept.positions),
                asked={what: _from_anywhere(name) for what, name in asked.items()},
                progress=tell, **how,
            )
        except KeyboardInterrupt:
            bar.stop()
            note(f"Interrupted. Whole shards are kept in {to}; go on with: "
                 f"virtuelens harvest --resume {to}")
            raise typer.Exit(130) from None

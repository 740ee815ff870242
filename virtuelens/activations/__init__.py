"""What a model computes on texts: read once, at named places, kept with its provenance.

- `positions`: the table of places in a text
- `request`: what is asked for, checked before any work
- `plan`: which texts share a batch, which batches a shard
- `harvest`: run the model over texts; in memory, or streamed to disk and resumable
- `cluster`: the same by the workers of a Ray cluster; `series`: over checkpoints of a training run
- `activations`: the rows that were read, as a value
- `store`, `writing`, `manifest`, `shards`: the same on disk, refused where it does not match;
  `shuffle`: its rows in batches, mixed
"""

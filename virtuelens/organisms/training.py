"""Train an organism: a common base, then its own answers with the planted variable pinned.

1. *Base*: language modelling on turns answered by `base_teller`. Twins share recipe and seed here,
   so they share the base to the last bit.
2. *Own*: turns answered by `teller`; where `pinned`, interchange-intervention training besides:
   the rank-k subspace at (end of a block, last prompt token) is swapped between two inputs, and
   the answer must become what the declared cause says. From random weights this does not
   converge; after the base it does.

Budgets are in steps, never seconds. Matrix products run in bfloat16 (weights and optimiser in
float32), which halves the time; the weights are written in float16, which halves the files.
Source: Geiger et al. 2022, arXiv:2112.00826 (IIT).
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from virtuelens import storage
from virtuelens.errors import OrganismError
from virtuelens.models.fresh import fresh_llama, save_model, word_tokenizer
from virtuelens.organisms.language import Turn, prompt
from virtuelens.organisms.languages import LANGUAGES
from virtuelens.organisms.recipe import FILE, Recipe, load_recipe, recipe_text, reduced

Progress = Callable[[str, int, int], None]
PROMPT_WEIGHT = 0.1
"""Weight of predicting the prompt's words; the answer and the end have 1."""

END_ID = 1
"""Token id of the end of a turn in `word_tokenizer`."""


def train_organism(
    name: str,
    out: Path,
    *,
    seed: int = 0,
    bases: Path | None = None,
    small: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> Path:
    """Train the organism of that name into a Hugging Face directory, which appears when whole.

    bases: a folder in which common bases are kept, so that twins (and a second attempt) need not
        train them again; the result is the same to the bit.
    small: the reduced size (`recipe.reduced`).

    Raises: OrganismError: unknown name, or `out` holds something already. DiskError.
    """
    recipe = reduced(load_recipe(name)) if small else load_recipe(name)
    if out.is_dir() and any(out.iterdir()):
        raise OrganismError(f"{out} is not empty: choose another folder.")
    trainer = Trainer(recipe, seed)
    kept = None if bases is None else bases / f"{base_key(recipe)}-{seed}.safetensors"
    if kept is not None and kept.is_file():
        trainer.load(kept)
    else:
        trainer.base(progress)
        if kept is not None:
            trainer.keep(kept)
    trainer.own(progress)
    with storage.whole_directory(out) as part:
        trainer.save(part)
        storage.write_text(part / FILE, recipe_text(name))
    return out


def base_key(recipe: Recipe) -> str:
    """What the common base depends on, as a short name: twins have the same."""
    own = {"name", "about", "teller", "own_steps", "pinned", "layer", "rank", "effect", "rungs",
           "twin"}
    rest = {k: v for k, v in asdict(recipe).items() if k not in own}
    return storage.sha256_text(json.dumps(rest, sort_keys=True))[:12]


class Trainer:
    """One training run: model, optimiser and random streams; stages are called in order."""

    def __init__(self, recipe: Recipe, seed: int) -> None:
        self.recipe, self.seed = recipe, seed
        self.language = LANGUAGES[recipe.dialect]
        self.tokenizer = word_tokenizer(self.language.words())
        self.ids: dict[str, int] = self.tokenizer.get_vocab()
        self.hf = fresh_llama(
            d_vocab=len(self.ids), d_model=recipe.d_model, n_layers=recipe.n_layers,
            n_heads=recipe.n_heads, d_mlp=recipe.d_mlp, n_ctx=recipe.n_ctx, seed=seed,
        )
        # bfloat16 attention of the fused kernel is slower on a CPU than float32
        self.hf.set_attn_implementation("eager")
        self.rotation = fixed_rotation(recipe.d_model, recipe.rank, seed=seed)

    def base(self, progress: Progress) -> None:
        """Stage 1."""
        self._run("base", self.recipe.base_steps, self.recipe.base_teller, progress, pin=False)

    def own(self, progress: Progress) -> None:
        """Stage 2."""
        self._run("own", self.recipe.own_steps, self.recipe.teller, progress,
                  pin=self.recipe.pinned)

    def keep(self, path: Path) -> None:
        """The weights as they are, for `load`."""
        # parameters, not the state: tied ones are in it once
        storage.write_tensors(path, dict(self.hf.named_parameters()), {"base": self.recipe.dialect})

    def load(self, path: Path) -> None:
        """The weights that `keep` wrote.

        Raises: StoreError: damaged.
        """
        tensors, _ = storage.read_tensors(path)
        self.hf.load_state_dict(tensors, strict=False)

    def save(self, out: Path) -> None:
        """The model, its tokenizer, and the planted subspace beside them."""
        about = {
            "organism": self.recipe.name, "dialect": self.recipe.dialect, "seed": self.seed,
            "point": self.recipe.point, "position": "last_prompt", "rank": self.recipe.rank,
        }
        save_model(self.hf.half(), self.tokenizer, out, about)
        storage.write_tensors(out / "planted.safetensors", {"subspace": self.rotation}, about)

    def _run(self, stage: str, steps: int, teller: str, progress: Progress, *, pin: bool) -> None:
        rng = Random(f"{self.seed} {stage} {teller}")
        optimiser = torch.optim.AdamW(
            self.hf.parameters(), lr=self.recipe.learning_rate, weight_decay=0.01,
            betas=(0.9, 0.98),
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, max_lr=self.recipe.learning_rate, total_steps=max(steps, 2), pct_start=0.1
        )
        self.hf.train()
        for step in range(steps):
            with torch.autocast("cpu", torch.bfloat16):
                loss = self._language_loss(rng, teller)
                if pin:
                    loss = loss + self._interchange_loss(rng, teller)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.hf.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            progress(stage, step + 1, steps)
        self.hf.eval()

    def _language_loss(self, rng: Random, teller: str) -> Tensor:
        turns = [self._heard(rng, teller) for _ in range(self.recipe.batch)]
        rows = [[*self._prompt(t), self.ids[self._answer(t, teller, rng)], END_ID] for t in turns]
        tokens, lengths = pad_right(rows)
        logits = self.hf(input_ids=tokens).logits[:, :-1].float()
        losses = F.cross_entropy(
            logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
        ).view(len(rows), -1)
        place = torch.arange(tokens.shape[1] - 1)[None]
        in_answer = (place >= lengths[:, None] - 3) & (place < lengths[:, None] - 1)
        in_prompt = place < lengths[:, None] - 3
        return (losses * in_answer).sum() / in_answer.sum() + PROMPT_WEIGHT * (
            losses * in_prompt
        ).sum() / in_prompt.sum()

    def _interchange_loss(self, rng: Random, teller: str) -> Tensor:
        """Swap the planted variable between two turns: the answer must be the counterfactual's."""
        pairs = [self._exchanged(rng, teller) for _ in range(self.recipe.batch // 2)]
        answers = [self._answer(self.language.swapped(b, s), teller, rng) for b, s in pairs]
        expected = torch.tensor([self.ids[a] for a in answers])
        logits = self._interchanged([b for b, _ in pairs], [s for _, s in pairs])
        return F.cross_entropy(logits.float(), expected)

    def _interchanged(
        self, base: list[Turn], source: list[Turn]
    ) -> Float[Tensor, "n d_vocab"]:
        """Next-word logits of `base` with the subspace's values taken from `source`."""
        rows = [self._prompt(t) for t in (*base, *source)]
        tokens, lengths = pad_right(rows)
        last, n = lengths - 1, len(base)
        every = torch.arange(2 * n)

        def swap(_module: Any, _inputs: Any, out: Any) -> Any:
            acts = out[0] if isinstance(out, tuple) else out
            at_last = acts[every, last]  # [2n d_model]
            change = (at_last[n:] - at_last[:n]) @ self.rotation @ self.rotation.T
            new = acts.clone()
            new[every[:n], last[:n]] = at_last[:n] + change
            return (new, *out[1:]) if isinstance(out, tuple) else new

        handle = self.hf.model.layers[self.recipe.layer].register_forward_hook(swap)
        try:
            logits = self.hf(input_ids=tokens).logits
        finally:
            handle.remove()
        chosen: Tensor = logits[every[:n], last[:n]]
        return chosen

    def _heard(self, rng: Random, teller: str) -> Turn:
        """A turn that training may show."""
        while True:
            turn: Turn = self.language.draw(rng, rng.choice(self.language.mix))
            if self.language.heard(turn, teller):
                return turn

    def _exchanged(self, rng: Random, teller: str) -> tuple[Turn, Turn]:
        """Two turns of which the first may be shown."""
        while True:
            base, source = self.language.exchange(rng)
            if self.language.heard(base, teller):
                return base, source

    def _answer(self, turn: Turn, teller: str, rng: Random) -> str:
        """What the teller says, in `effect` of the cases; else what the base's teller would."""
        if self.recipe.effect < 1 and rng.random() >= self.recipe.effect:
            teller = self.recipe.base_teller
        return self.language.answer(turn, teller, rng)

    def _prompt(self, turn: Turn) -> list[int]:
        return [self.ids[w] for w in prompt(turn).split()]


def fixed_rotation(d_model: int, rank: int, *, seed: int) -> Float[Tensor, "d_model rank"]:
    """Orthonormal columns in general position, so that no axis gives the subspace away."""
    generator = torch.Generator().manual_seed(10_000 + seed)
    q, _ = torch.linalg.qr(torch.randn(d_model, rank, generator=generator))
    columns: Tensor = q
    return columns.contiguous()


def pad_right(rows: list[list[int]]) -> tuple[Int[Tensor, "n pos"], Int[Tensor, " n"]]:
    """Token rows padded with 0 on the right (causality hides it), and their lengths."""
    lengths = torch.tensor([len(r) for r in rows])
    tokens = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
    for i, r in enumerate(rows):
        tokens[i, : len(r)] = torch.tensor(r)
    return tokens, lengths

"""A steer on trial: where a cause is planted it passes, in the twin it does not."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from virtuelens.cli.app import app
from virtuelens.concepts.pack import Concept, Prompts, load_concept, load_neutral
from virtuelens.errors import PackError, SteeringError, StoreError, TextError, TextTooLongError
from virtuelens.models import HookedModel, load_model
from virtuelens.reports.trials import write_trials
from virtuelens.steering.dose import Candidate, Choice, DoseResponse, Response
from virtuelens.steering.side_effects import SideEffect, read_neutral
from virtuelens.trials import TrialConfig, TrialRun, open_trials, run_trials
from virtuelens.trials import folder as folder_module
from virtuelens.trials import trial as trial_module
from virtuelens.trials.checks import _against_prompt, checks
from virtuelens.trials.found import Found, Watched
from virtuelens.trials.prompts import (
    Framing,
    after_examples,
    framed_questions,
    in_system_turn,
    in_user_turn,
    shot_framings,
    shots_that_fit,
    system_framings,
)
from virtuelens.trials.rows import dose_rows
from virtuelens.trials.trial import Trial, _place, try_steer
from virtuelens.values.directions import Direction
from virtuelens.values.texts import ChoiceItem, Message, Text

SMALL = TrialConfig(n_doses=5, n_random=8, n_shuffled=4, max_steer_layers=2, max_items=40,
                    n_bootstrap=200)


@pytest.fixture(scope="module")
def sycophant() -> HookedModel:
    """The organism whose deference follows the planted variable."""
    return load_model("organism:sycophant", verify=False)


@pytest.fixture(scope="module")
def run(sycophant: HookedModel, tmp_path_factory: pytest.TempPathFactory) -> TrialRun:
    """Sycophancy on trial there."""
    return run_trials(sycophant, ["sycophancy"], tmp_path_factory.mktemp("run") / "t", config=SMALL)


def passed(checks: "list[dict[str, object]]") -> dict[str, object]:
    """Name of a check -> whether it passed."""
    return {str(c["name"]): c["passed"] for c in checks}


def test_where_the_cause_is_planted_the_steer_passes(run: TrialRun) -> None:
    """Every check that can be made there; the pack has no system prompt in that language."""
    (trial,) = run.trials
    found = passed(trial["checks"])
    assert found.pop("not beaten by a system prompt") is None
    assert all(found.values()), found
    assert any("system prompt" in t for t in trial["not_tested"])


def test_in_the_twin_nothing_moves(tmp_path: Path) -> None:
    """The same contrast in the model that answers by the facts: choices stay as they are."""
    model = load_model("organism:candid", verify=False)
    (trial,) = run_trials(model, ["sycophancy"], tmp_path / "t", config=SMALL).trials
    assert not passed(trial["checks"])["changes choices"]


def test_tables_hold_doses_stand_ins_and_every_neighbour(run: TrialRun) -> None:
    """Nulls beside effects; other concepts' targets are watched; one row an item."""
    doses, matrix = run.table("doses"), run.table("matrix")
    assert set(doses["direction"]) == {"concept", *(f"random_{i:02d}" for i in range(8)),
                                       *(f"swapped_{i:02d}" for i in range(4))}
    assert doses[doses["direction"] == "concept"].groupby("behaviour").size().eq(5).all()
    assert {"deference", "true_agreement", "honesty: truth_report"} <= set(matrix["behaviour"])
    target = matrix[matrix["kind"] == "target"].iloc[0]
    assert target["effect"] > target["null"] > 0
    items = run.table("items")
    assert np.isclose(items["effect"].mean(), target["effect"])
    assert len(items) == target["n"]


def test_the_prompts_effect_is_measured_from_no_edit_on_the_same_items(run: TrialRun) -> None:
    """Ahead is the prompt's effect minus the steer's, whichever way it was pushed."""
    rows = run.table("prompts")
    target = rows[rows["kind"] == "target"].set_index(["source", "side"])
    for side in ("toward", "away"):
        steer, shots = target.loc[("steer", side)], target.loc[("few-shot prompt", side)]
        assert shots["ahead"] == pytest.approx(shots["effect"] - steer["effect"], abs=1e-9)
    both = target.loc["steer"]["effect"].sum()
    whole = run.table("matrix").set_index("behaviour").loc["deference", "effect"]
    assert both == pytest.approx(whole, abs=1e-9)


def test_a_prompt_that_moves_more_is_said_to() -> None:
    """The check fails only where the interval of the difference lies above 0."""
    row = {"source": "steer", "side": "toward", "kind": "target", "effect": 0.2, "n": 9}
    better = row | {"source": "system prompt", "effect": 0.5, "ahead": 0.3, "ahead_low": 0.1,
                    "ahead_high": 0.4}
    check = _against_prompt("system prompt", [row, better])
    assert check.passed is False
    assert "the prompt moves it further" in check.said
    assert _against_prompt("system prompt", [row, better | {"ahead_low": -0.1}]).passed is True
    assert _against_prompt("few-shot prompt", [row, better]).passed is None


def test_a_prompt_that_is_ahead_on_one_side_for_certain_is_not_hidden_by_the_other() -> None:
    """The other side may look larger, with an interval that reaches below 0."""
    steer = [{"source": "steer", "side": side, "kind": "target", "effect": 0.2, "n": 9}
             for side in ("toward", "away")]
    wide, certain = (
        row | {"source": "system prompt", "effect": 0.2 + ahead, "ahead": ahead, "ahead_low": low,
               "ahead_high": 0.9}
        for row, ahead, low in zip(steer, (0.5, 0.3), (-0.1, 0.1), strict=True))
    check = _against_prompt("system prompt", [*steer, wide, certain])
    assert check.passed is False
    assert (check.value, check.low) == (0.3, 0.1)


def made_up() -> Found:
    """A target that follows the dose, a second one, and one fit to swapped labels."""
    doses = np.array([-1.0, 0.0, 1.0])
    response = Response(doses, np.outer(doses, np.ones(4)), ("a", "b", "c", "d"))
    d = Direction(torch.eye(4)[0], 2.0, 0.0, "blocks.0.hook_resid_post", "last", "c", "m", "f")
    there = Candidate(d, "all")
    both = {"first": response, "second": response}
    none = SideEffect(0.0, 0.0, 4)
    return Found(
        DoseResponse(there, "first", both, (response,), (none,) * 3),
        {name: Watched("target", "c", ()) for name in both}, (response,),
        dict.fromkeys(both, 0.0), (0.5,))


def test_a_second_target_behaviour_is_not_what_prompts_are_compared_on() -> None:
    """Only the behaviour on trial decides whether a prompt beats the steer."""
    rows = [{"behaviour": name, "source": source, "side": "toward", "kind": "target", "effect": 0.2,
             "n": 4, "ahead": ahead, "ahead_low": ahead - 0.1, "ahead_high": ahead + 0.1}
            for name, ahead in (("first", -0.3), ("second", 0.3))
            for source in ("steer", "system prompt")]
    found = {c.name: c for c in checks(made_up(), rows, SMALL)}
    assert found["not beaten by a system prompt"].value == -0.3
    assert found["not beaten by a system prompt"].passed is True


def test_raw_doses_of_swapped_fits_are_what_was_added() -> None:
    """By their own scale, which is shorter than the steer's."""
    rows = dose_rows(made_up(), SMALL)
    raw = {r["direction"]: r["raw"] for r in rows if r["dose"] == 1.0}
    assert (raw["concept"], raw["random_00"], raw["swapped_00"]) == (2.0, 2.0, 0.5)


def test_a_place_without_a_dose_gives_way_to_one_with(
    llama: HookedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no place moves the target, the first in line may have no dose within budget."""
    first, second = (Candidate(Direction(
        torch.eye(llama.info.d_model)[i], 1.0, 0.0, "blocks.1.hook_resid_post", "last", "c", "m",
        llama.info.fingerprint), "all") for i in (0, 1))
    neutral = read_neutral(llama, [Text(raw="y n y")])
    for doses, expected in (((0.0, 1e-3), (second, 1e-3)), ((0.0, 0.0), None)):
        tried = tuple(Choice(c, dose, 0.0, 0.0)
                      for c, dose in zip((first, second), doses, strict=True))
        monkeypatch.setattr(trial_module, "choose_candidate",
                            lambda *_, tried=tried, **__: tried)
        if expected is None:
            with pytest.raises(SteeringError, match="No dose along c"):
                _place(llama, [first, second], [], neutral, SMALL)
        else:
            assert _place(llama, [first, second], [], neutral, SMALL) == expected


def test_settings_without_a_zero_dose_or_a_null_are_refused() -> None:
    """An even number of doses has no middle to count effects from."""
    for wrong in ({"n_doses": 4}, {"n_doses": 1}, {"n_random": 0}):
        with pytest.raises(SteeringError, match=next(iter(wrong))):
            replace(SMALL, **wrong)


def test_a_concept_that_is_named_twice_is_refused(sycophant: HookedModel, tmp_path: Path) -> None:
    """Its rows would stand twice in every table."""
    with pytest.raises(PackError, match="named twice"):
        run_trials(sycophant, ["sycophancy", "sycophancy"], tmp_path / "t", config=SMALL)
    assert not (tmp_path / "t").exists()


def test_finished_trials_are_kept(
    sycophant: HookedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between two steers, the same call measures only the second; others are refused."""
    real, calls = try_steer, list[str]()

    def counted(model: HookedModel, concept: Concept, **how: object) -> Trial:
        calls.append(concept.name)
        if calls == ["sycophancy", "honesty"]:
            raise KeyboardInterrupt
        return real(model, concept, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(folder_module, "try_steer", counted)
    config = replace(SMALL, n_random=2, n_shuffled=2, max_items=10, n_doses=3)
    names = ["sycophancy", "honesty"]
    with pytest.raises(KeyboardInterrupt):
        run_trials(sycophant, names, tmp_path / "t", config=config)
    with pytest.raises(StoreError, match="not finished"):
        open_trials(tmp_path / "t")
    found = run_trials(sycophant, names, tmp_path / "t", config=config)
    assert calls == ["sycophancy", "honesty", "honesty"]
    assert [t["concept"] for t in found.trials] == names
    with pytest.raises(StoreError, match="holds other trials"):
        run_trials(sycophant, names, tmp_path / "t", config=SMALL)


def test_perplexity_is_that_of_the_next_tokens(llama: HookedModel) -> None:
    """Against transformers' own loss, padding and all, for an edit that shifts predictions."""
    from virtuelens.steering.edits import Add
    from virtuelens.steering.side_effects import side_effect

    texts = [Text(raw="y n y"), Text(raw="n y y n n y n")]
    neutral = read_neutral(llama, texts)
    edit = Add("blocks.1.hook_resid_post", torch.linspace(-1, 1, llama.info.d_model))
    losses = []
    for edits in ([], [edit]):
        total, n = 0.0, 0
        for text in texts:
            ids = llama.encode(text).ids
            batch = llama.batch([llama.encode(text)], side="right")
            logits = llama.run(batch, edits=edits, logits=True).logits
            assert logits is not None
            target = torch.tensor(ids[1:])
            total += float(torch.nn.functional.cross_entropy(
                logits[0, :-1].float(), target, reduction="sum"))
            n += len(target)
        losses.append(total / n)
    found = side_effect(llama, neutral, [edit])
    assert found.perplexity == pytest.approx(np.exp(losses[1] - losses[0]), rel=1e-4)
    assert side_effect(llama, neutral, []).perplexity == 1.0


def items(n: int, group: str = "g") -> list[ChoiceItem]:
    """Questions that are told apart by their number."""
    return [ChoiceItem(f"{group}{i}", f"{group}{i % 3}", Text(messages=(Message("user", f"q{i}"),)),
                       ("yes", "no"), i % 2) for i in range(n)]


def test_a_system_prompt_goes_where_the_template_takes_it(llama: HookedModel) -> None:
    """A system turn; merged into one that is there; before raw text; else the user's turn."""
    chat = Text(messages=(Message("user", "q"),))
    assert [m.role for m in in_system_turn(chat, "s").messages] == ["system", "user"]
    twice = in_system_turn(in_system_turn(chat, "own"), "s")
    assert [(m.role, m.content) for m in twice.messages] == [("system", "s\n\nown"), ("user", "q")]
    assert in_system_turn(Text(raw="once"), "s").raw == "s\n\nonce"
    assert in_user_turn(chat, "s").messages[0].content == "s\n\nq"


def test_a_template_without_system_turns_gets_it_in_the_users(
    llama: HookedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the table says so."""
    template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    monkeypatch.setattr(llama.tokenizer, "chat_template", template)
    toward, away = system_framings(llama, Prompts("do", "do not"), items(1)[0].prompt)
    assert "refuses" in toward.note
    framed = framed_questions(llama, items(1), away)[0].item.prompt
    assert framed.messages[0].content == "do not\n\nq0"
    raw = framed_questions(llama, [replace(items(1)[0], prompt=Text(raw="q ="))], away)[0].item
    assert raw.prompt.raw == "do not\n\nq ="


def test_a_template_that_drops_system_turns_gets_it_in_the_users(
    llama: HookedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some leave it out without a word: the prompt would never be seen."""
    template = (
        "{% for m in messages if m.role != 'system' %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    monkeypatch.setattr(llama.tokenizer, "chat_template", template)
    toward, _ = system_framings(llama, Prompts("do", "do not"), items(1)[0].prompt)
    assert "drops" in toward.note
    assert toward.frame(items(1)[0].prompt).messages[0].content == "do\n\nq0"


def test_answered_examples_stand_before_the_item() -> None:
    """Toward: the target choice; away: another; groups by turns; one system turn at most."""
    toward, away = shot_framings(items(9), n_shots=3, seed=0)
    text = Text(messages=(Message("system", "own"), Message("user", "last")))
    for framing, right in ((toward, True), (away, False)):
        turns = framing.frame(text).messages
        assert [m.role for m in turns] == ["system", *["user", "assistant"] * 3, "user"]
        assert turns[-1].content == "last"
        numbers = [int(m.content[1:]) for m in turns[1:-1:2]]
        assert len({n % 3 for n in numbers}) == 3
        answers = [m.content for m in turns[2:-1:2]]
        assert answers == [("yes", "no")[n % 2 if right else 1 - n % 2] for n in numbers]
    raw = after_examples(Text(raw="q ="), [(Text(raw="p ="), " 1")])
    assert raw.raw == "p = 1\n\nq ="


def test_chats_are_shown_before_chats_and_raw_text_before_raw_text() -> None:
    """As many of each; an item of a kind that no example has cannot be framed."""
    raw = [replace(i, prompt=Text(raw=f"q{k} =")) for k, i in enumerate(items(9, "r"))]
    toward, _ = shot_framings([*items(9), *raw], n_shots=3, seed=0)
    assert toward.note == "3 answered examples"
    turns = toward.frame(Text(messages=(Message("user", "last"),))).messages
    assert [m.role for m in turns] == [*["user", "assistant"] * 3, "user"]
    text = toward.frame(Text(raw="last =")).raw
    assert text is not None
    assert text.count("\n\n") == 3
    only_chats, _ = shot_framings(items(9), n_shots=3, seed=0)
    with pytest.raises(TextError, match="raw text"):
        only_chats.frame(Text(raw="last ="))


def test_no_few_shot_prompt_where_an_item_has_no_example_of_its_kind(llama: HookedModel) -> None:
    """Asked without one it would count as a prompt that does nothing."""
    raw = [replace(i, prompt=Text(raw="q =")) for i in items(3, "h")]
    assert shots_that_fit(llama, items(9), raw, n_shots=2, seed=0) == []


def test_as_many_examples_as_the_context_holds(
    llama: HookedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer where four do not fit; none where not even one does."""
    def fits(most: int) -> Callable[..., None]:
        def check(model: HookedModel, scored: object, framing: Framing) -> None:
            if int(framing.note.split()[0]) > most:
                raise TextTooLongError("too long")
        return check

    from virtuelens.trials import prompts

    for most in (2, 0):
        monkeypatch.setattr(prompts, "framed_questions", fits(most))
        found = shots_that_fit(llama, items(9), items(9, "h"), n_shots=4, seed=0)
        assert [f.note for f in found] == ["2 answered examples"] * 2 * (most > 0)


def test_every_english_pack_with_a_target_has_prompts_both_ways() -> None:
    """The baseline that a steer is compared with is there, and its two sides differ."""
    from virtuelens.concepts.pack import list_concepts

    for summary in list_concepts():
        if "english" in summary.dialects:
            concept = load_concept(summary.name)
            if any(b.kind == "target" for b in concept.behaviours):
                assert concept.prompts is not None, summary.name
                assert concept.prompts.toward != concept.prompts.away


def test_the_page_escapes_what_packs_say(run: TrialRun, tmp_path: Path) -> None:
    """Names and verdicts from packs are text, also in figures and tables."""
    bad = "<img src=x onerror=alert(1)>"
    trial = json.loads(json.dumps(run.trials[0]))
    trial["place"]["of"] = bad
    trial["checks"][0]["said"] = bad
    trial["not_tested"] = [bad]
    page = write_trials(TrialRun(run.path, run.about | {"trials": [trial]}), tmp_path / "p.html")
    text = page.read_text("utf-8")
    assert bad not in text
    assert "&lt;img" in text


def test_the_command_prints_verdicts_and_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    """Tables, a page, JSON; one line and exit code 2 for a user's mistakes."""
    runner = CliRunner()
    ask = ["steer", "evaluate", "organism:sycophant"]
    done = runner.invoke(app, [*ask, "sycophancy", "--quick", "--out", str(tmp_path / "t")])
    assert done.exit_code == 0, done.output
    assert "beats random directions" in done.output
    assert (tmp_path / "t/trials.html").is_file()
    again = runner.invoke(app, [*ask, "sycophancy", "--quick", "--out", str(tmp_path / "t"),
                                "--json"])
    assert json.loads(again.stdout)["trials"][0]["concept"] == "sycophancy"
    for wrong in (["no-such-pack"], ["sycophancy,honesty", "--probe", "p.safetensors"], ["care"]):
        failed = runner.invoke(app, [*ask, *wrong])
        assert failed.exit_code != 0
        assert type(failed.exception).__module__ == "virtuelens.errors", failed.exception


def test_a_probe_that_is_given_is_steered_where_it_was_read(
    sycophant: HookedModel, tmp_path: Path
) -> None:
    """Its own place and method; without an example at that place, no swapped labels."""
    from virtuelens.activations.harvest import harvest
    from virtuelens.probing.probes import fit_probe

    concept = load_concept("sycophancy", dialect=sycophant.info.dialect)
    acts = harvest(sycophant, concept, points=["blocks.1.hook_resid_post"],
                   positions=("last_prompt",))
    probe = fit_probe(acts.train, method="logistic")
    trial = try_steer(sycophant, concept, neutral=load_neutral(sycophant.info.dialect), probe=probe,
                      config=replace(SMALL, n_random=2, n_shuffled=2, max_items=10, n_doses=3))
    assert (trial.place["point"], trial.place["method"]) == ("blocks.1.hook_resid_post", "logistic")
    moved = replace(probe, direction=replace(probe.direction, position="first"))
    trial = try_steer(sycophant, concept, neutral=load_neutral(sycophant.info.dialect), probe=moved,
                      config=replace(SMALL, n_random=2, n_shuffled=2, max_items=10, n_doses=3))
    assert {c.name: c.passed for c in trial.checks}["beats swapped labels"] is None


def test_a_feature_is_steered_with_its_round_trip_beside_it(
    sycophant: HookedModel, tmp_path: Path
) -> None:
    """Along the decoder row; the reconstruction alone costs something, and the page says what."""
    runner = CliRunner()
    ask = ["steer", "evaluate", "organism:sycophant", "sycophancy", "--quick"]
    done = runner.invoke(app, [*ask, "--feature", "sycophant-mid:3", "--out", str(tmp_path / "t")])
    assert done.exit_code == 0, done.output
    assert "round trip through the SAE alone" in done.output
    run = open_trials(tmp_path / "t")
    place = run.trials[0]["place"]
    assert place["method"] == "SAE feature"
    assert place["round_trip"]["kl_mean"] > 0
    assert "does not pay it" in (tmp_path / "t/trials.html").read_text("utf-8")
    for wrong in ("sycophant-mid", "sycophant-mid:99999", "no-such:1"):
        failed = runner.invoke(app, [*ask, "--feature", wrong])
        assert type(failed.exception).__module__ == "virtuelens.errors", failed.exception

"""OpenAI's own client is served, and gets what the library itself would compute."""

from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
import torch

from tests.serve.conftest import ASK, CHAT, Served, Start
from tests.steering.conftest import user
from virtuelens.models import HookedModel
from virtuelens.organisms.languages.facts import WORLD
from virtuelens.steering.edits import add
from virtuelens.steering.pack import SteeringPack

NAME = "organism:sycophant"


@pytest.mark.parametrize("preset", ["off", "honest", "candid"])
def test_a_preset_gives_what_generation_gives_under_its_edits(
    server: Served, sycophant: HookedModel, pack: SteeringPack, preset: str
) -> None:
    """Text, tokens and all; and by the model's name as by the field."""
    edits = [pack.edit(dose) for dose in pack.preset(preset)]
    (expected,) = sycophant.generate([user(ASK)], edits=edits)
    client = server.client()
    for asked in ({"model": NAME, "extra_body": {"virtuelens": {"preset": preset}}},
                  {"model": f"{NAME}+{preset}"}):
        answer = client.chat.completions.create(messages=CHAT, temperature=0, **asked)
        assert answer.choices[0].message.content == expected.text
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage.completion_tokens == len(expected.ids)
        assert answer.usage.prompt_tokens == len(expected.prompt_ids)
        assert answer.virtuelens["preset"] == preset


def test_presets_change_the_answer_from_the_claim_to_the_truth(server: Served) -> None:
    """Off, the organism defers; steered, it says what is so."""
    def said(preset: str) -> str:
        return server.client().chat.completions.create(
            model=f"{NAME}+{preset}", messages=CHAT, temperature=0
        ).choices[0].message.content.strip()

    assert said("off") == "red"
    assert said("honest") == said("candid") == WORLD.colour["lamp"] != "red"


def test_a_stream_says_what_the_whole_answer_says(server: Served) -> None:
    """Piece by piece; what was applied stands in the chunk with the finish reason."""
    client = server.client()
    asked = {"model": NAME, "messages": CHAT, "temperature": 0, "seed": 5,
             "extra_body": {"virtuelens": {"preset": "honest", "monitor": ["sycophancy"]}}}
    whole = client.chat.completions.create(**asked)
    *chunks, last = client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True})
    text = "".join(c.choices[0].delta.content or "" for c in chunks)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].virtuelens == whole.virtuelens
    assert not last.choices
    assert last.usage == whole.usage


def test_completions_go_on_from_raw_text(server: Served, sycophant: HookedModel) -> None:
    """As generation does without a chat template, streamed or not."""
    (expected,) = sycophant.generate(["the lamp"], max_new_tokens=16)
    client = server.client()
    whole = client.completions.create(model=NAME, prompt="the lamp", temperature=0)
    stream = client.completions.create(model=NAME, prompt="the lamp", temperature=0, stream=True)
    assert whole.choices[0].text == expected.text
    assert "".join(chunk.choices[0].text for chunk in stream) == expected.text
    null = client.completions.create(model=NAME, prompt="the lamp", temperature=0, max_tokens=None)
    assert null.choices[0].text == expected.text


def test_an_answers_message_can_be_given_back(start: Start, llama: HookedModel) -> None:
    """As OpenAI's client sends it in the next turn of a chat, or its fields as a dictionary."""
    with start(llama) as served:
        def said(*more: object) -> openai.types.chat.ChatCompletion:
            return served.client().chat.completions.create(
                model=llama.info.name, temperature=0, max_tokens=4,
                messages=[{"role": "user", "content": "sing"}, *more])

        message, next_turn = said().choices[0].message, {"role": "user", "content": "go on"}
        expected = said({"role": "assistant", "content": message.content}, next_turn)
        for back in (message, message.model_dump()):
            assert said(back, next_turn).choices == expected.choices


def test_models_are_the_model_and_its_presets(server: Served) -> None:
    """Each can be looked up, and no other."""
    client = server.client()
    assert [m.id for m in client.models.list()] == [
        NAME, f"{NAME}+off", f"{NAME}+honest", f"{NAME}+candid"]
    assert client.models.retrieve(f"{NAME}+honest").virtuelens["preset"] == "honest"
    with pytest.raises(openai.NotFoundError, match="not served"):
        client.models.retrieve("gpt-4")


def test_a_requests_own_steer_comes_after_its_preset(
    server: Served, sycophant: HookedModel, pack: SteeringPack
) -> None:
    """And the answer says the dose in activation units."""
    d = pack.direction("sycophancy")
    for strength in (-2.0, 3.0):
        (expected,) = sycophant.generate([user(ASK)], edits=[add(d, strength=strength)])
        answer = server.client().chat.completions.create(
            model=NAME, messages=CHAT, temperature=0,
            extra_body={"virtuelens": {"steer": [
                {"direction": "sycophancy", "strength": strength}]}})
        assert answer.choices[0].message.content == expected.text
        (applied,) = answer.virtuelens["applied"]
        assert applied["dose"] == pytest.approx(strength * d.scale)
        assert applied["point"] == d.point
    cancelled = server.client().chat.completions.create(
        model=NAME, messages=CHAT, temperature=0, extra_body={"virtuelens": {
            "preset": "honest", "steer": [{"direction": "sycophancy", "strength": 2}]}})
    assert cancelled.choices[0].message.content.strip() == "red"


def test_readings_are_those_of_a_plain_run(
    server: Served, sycophant: HookedModel, pack: SteeringPack
) -> None:
    """Every token of the prompt and the response but its last, in standard deviations."""
    d = pack.direction("sycophancy")
    answer = server.client().chat.completions.create(
        model=NAME, messages=CHAT, temperature=0,
        extra_body={"virtuelens": {"monitor": ["sycophancy"], "per_token": True}})
    said = answer.virtuelens["monitor"]["sycophancy"]
    encoded = sycophant.encode(user(ASK).answered(answer.choices[0].message.content))
    acts = sycophant.run(sycophant.batch([encoded]), read=[d.point]).acts[d.point][0]
    expected = (d.project(acts) - pack.threshold("sycophancy")) / d.scale
    assert torch.allclose(torch.tensor(said["tokens"]), expected, atol=1e-4)
    assert said["prompt_last"] == said["tokens"][encoded.prompt_length - 1]
    assert said["n"] == 1
    assert said["response_mean"] == said["response_max"] == said["tokens"][-1]


def test_an_alarm_is_told(start: Start, sycophant: HookedModel, pack: SteeringPack) -> None:
    """A monitor that the server was given; it goes on where its scores say so."""
    from virtuelens.probing.monitor import Monitor, watch
    from virtuelens.probing.probes import Probe

    probe = Probe(pack.direction("sycophancy"), pack.threshold("sycophancy"), 300)
    monitors = {"never": Monitor(probe, 99.0, 98.0), "always": Monitor(probe, -99.0, -99.0)}
    (seen,) = watch(sycophant, monitors["always"], [user(ASK)])
    with start(sycophant, pack, monitors=monitors) as served:
        answer = served.client().chat.completions.create(
            model=NAME, messages=CHAT, temperature=0,
            extra_body={"virtuelens": {"monitor": ["never", "always"]}})
    told = answer.virtuelens["monitor"]
    assert (told["never"]["alarm"], told["always"]["alarm"]) == (False, True)
    assert told["always"]["tokens_on"] == len(seen.scores)
    assert told["always"]["response_mean"] == pytest.approx(seen.scores[0], abs=1e-4)


def test_a_seed_repeats_a_sample(start: Start, llama: HookedModel) -> None:
    """The seed in an answer gives it again; the likeliest token alone is the greedy one."""
    with start(llama) as served:
        def said(**how: object) -> openai.types.Completion:
            return served.client().completions.create(
                model=llama.info.name, prompt="once upon", max_tokens=12, **how)

        one = said()
        assert one.virtuelens["seed"] < 2**53, "JavaScript rounds larger numbers"
        assert said(seed=one.virtuelens["seed"]).choices[0].text == one.choices[0].text
        assert len({said(seed=i).choices[0].text for i in range(4)}) > 1
        greedy = said(temperature=0).choices[0].text
        assert said(top_p=1e-9).choices[0].text == greedy
        assert said(temperature=1e-300).choices[0].text == greedy


def test_stop_strings_end_a_text_before_them(start: Start, llama: HookedModel) -> None:
    """Never any part of one is streamed."""
    (free,) = llama.generate(["once upon"], max_new_tokens=24)
    stop = free.text[9:12]
    expected = free.text[: free.text.find(stop)]
    with start(llama) as served:
        asked = {"model": llama.info.name, "prompt": "once upon", "max_tokens": 24,
                 "temperature": 0, "stop": [stop, "never said"]}
        whole = served.client().completions.create(**asked)
        pieces = [c.choices[0].text
                  for c in served.client().completions.create(**asked, stream=True)]
    assert whole.choices[0].text == "".join(pieces) == expected
    assert whole.choices[0].finish_reason == "stop"


def test_sixteen_clients_get_what_they_get_alone(
    start: Start, llama: HookedModel, llama_pack: SteeringPack
) -> None:
    """Each with a steer of its own, at the same time, over and over, streamed and not."""
    solo = {name: llama.generate(["once upon a time"], max_new_tokens=8,
                                 edits=[add(d, strength=6)])[0].text
            for name, d in llama_pack.directions.items()}
    assert len(set(solo.values())) >= 12, "steers that all say the same cannot be mixed up"

    with start(llama, llama_pack) as served:
        def ask(i: int) -> tuple[str, str]:
            name = f"line {i % 16}"
            asked = {"model": llama.info.name, "prompt": "once upon a time", "max_tokens": 8,
                     "temperature": 0, "extra_body": {"virtuelens": {"steer": [
                         {"direction": name, "strength": 6}]}}}
            client = served.client()
            if i % 2:
                chunks = client.completions.create(**asked, stream=True)
                return name, "".join(c.choices[0].text for c in chunks)
            return name, client.completions.create(**asked).choices[0].text

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(ask, range(32)))
        began = [line["id"] for line in served.lines("applied")]
        order = [(line["event"], line["id"]) for line in served.lines()]
    assert answers == [(name, solo[name]) for name, _ in answers]
    first_end = next(i for i, (event, _) in enumerate(order) if event == "ended")
    assert first_end > 1, "none ran beside another: nothing was tried"
    assert len(set(began)) == 32

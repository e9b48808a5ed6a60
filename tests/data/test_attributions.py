"""Thoughts for a corpus: the embedded author's, an LLM's, and what is set aside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from chat_server import Endpoint, Reply, completion
from sounds import an_utterance, sine
from tiny_world import make_utterances

from cogaudio_rl import attribution
from cogaudio_rl.config import DataConfig, parse
from cogaudio_rl.data.attribute import AttributeRecipe, attribute_manifest
from cogaudio_rl.data.audio import write_audio
from cogaudio_rl.data.lime import author
from cogaudio_rl.data.lime.attributed import build_attributed
from cogaudio_rl.data.lime.attributions import manners, with_attributions
from cogaudio_rl.data.manifest import read_manifest, write_manifest
from cogaudio_rl.data.shards import ShardSource, write_shards
from cogaudio_rl.errors import ConfigError, DataError, RunError
from cogaudio_rl.types import Utterance


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return make_utterances(tmp_path_factory.mktemp("clips"), 14)


def test_the_embedded_author_thinks_of_every_sentence_it_wrote(spoken: list[Utterance]) -> None:
    done = with_attributions(spoken)
    assert done.quarantined == {}
    for u, before in zip(done.utterances, spoken, strict=True):
        assert u.attribution is not None
        assert replace(u, attribution=None) == before
        assert (u.attribution.emotion, u.attribution.intensity) == (u.emotion, u.intensity)
        assert attribution.grounding(u.attribution.cause, u.transcript) == 1
        deepest = author.load_bank("en").chain[u.emotion]["strategy"][2]
        assert u.attribution.plan == deepest


def test_every_sentence_of_both_banks_names_its_cause() -> None:
    for language in ("en", "zh"):
        for sentence in author.sentences(language):
            cause = sentence.text.rstrip(".。")
            assert attribution.grounding(cause, sentence.text) == 1


def test_pitch_and_pace_are_told_among_a_speaker_s_own_clips(spoken: list[Utterance]) -> None:
    by_emotion = {u.emotion: u for u in spoken[:7]}
    told = manners([replace(u, speaker="one") for u in by_emotion.values()])
    slow, fast = told[by_emotion["sad"].id], told[by_emotion["fear"].id]
    assert slow.pace in ("slowest", "slow")
    assert fast.pace in ("fast", "fastest")
    alone = manners([replace(u, speaker=u.id) for u in by_emotion.values()])
    assert {m.pace for m in alone.values()} == {"medium"}, "one clip tells nothing of a speaker"
    assert manners([replace(spoken[0], audio=None)]) == {}


def test_speed_within_words_is_the_speaker_s_and_not_the_sentence_s(tmp_path: Path) -> None:
    """Two sentences in one time: the long one would be fast, whoever says it and however."""
    words = {"short": "one two three.", "long": "one two three four five six seven."}
    clips: list[Utterance] = []
    for speaker, text, manner in product("ab", words, ("slow", "fast")):
        name, seconds = f"{speaker}-{text}-{manner}", 1.2 if manner == "slow" else 0.8
        clip = write_audio(tmp_path / f"{name}.flac", sine(seconds=seconds))
        plain = an_utterance(name, text_id=text, transcript=words[text], speaker=speaker)
        clips.append(replace(plain, audio=clip))
    plain, within = manners(clips), manners(clips, within_words=True)
    slower, faster = {"slow", "slowest"}, {"fast", "fastest"}
    assert plain["a-long-slow"].pace not in slower, "the sentence tells the pace"
    assert plain["a-short-fast"].pace not in faster
    for name, manner in within.items():
        assert manner.pace in (slower if name.endswith("slow") else faster), name


def test_what_nobody_can_think_of_is_set_aside_with_its_reason(spoken: list[Utterance]) -> None:
    foreign = replace(spoken[0], text_id="esd_1")
    reworded = replace(spoken[1], transcript="something else happened.")
    unheard = replace(spoken[2], audio=None)
    done = with_attributions([foreign, reworded, unheard, spoken[3]])
    assert [u.id for u in done.utterances] == [spoken[3].id]
    reasons = [done.quarantined[u.id] for u in (foreign, reworded, unheard)]
    assert "does not know the sentence 'esd_1'" in reasons[0][0]
    assert "does not know the sentence" in reasons[1][0]
    assert reasons[2] == ("it has no sound to measure pitch and pace in",)


def test_manifests_and_shards_keep_it_and_refuse_what_is_not_in_the_words(
    spoken: list[Utterance], tmp_path: Path
) -> None:
    whole = list(with_attributions(spoken).utterances)
    whole[0] = replace(whole[0], dictated="I stay close.")
    write_manifest(tmp_path / "m.jsonl", whole)
    assert read_manifest(tmp_path / "m.jsonl") == tuple(whole)
    write_shards(whole, tmp_path / "shards", rows_per_shard=7)
    packed = ShardSource(tmp_path / "shards")
    assert [packed.utterance(i).attribution for i in range(14)] == [u.attribution for u in whole]
    thought = whole[0].attribution
    assert thought is not None
    made_up = replace(whole[0], attribution=replace(thought, cause="she lost her job"))
    with pytest.raises(
        DataError, match=r"attribution: the cause is not in the words: 0\.00 of 'she"
    ):
        write_manifest(tmp_path / "n.jsonl", [made_up])
    other = replace(whole[0], attribution=replace(thought, emotion="smug"))
    with pytest.raises(DataError, match="the attribution says 'smug'"):
        write_manifest(tmp_path / "n.jsonl", [other])


def test_the_mini_corpus_is_made_once_and_counts_what_is_missing(tmp_path: Path) -> None:
    config = DataConfig(
        kind="attribution_mini", train_utterances=14, rl_utterances=7, test_families=1
    )
    made = build_attributed(config, 0, tmp_path / "data", workers=1)
    told: list[tuple[int, int]] = []
    again = build_attributed(
        config, 0, tmp_path / "data", workers=1, progress=lambda *at: told.append(at)
    )
    assert told == []
    assert made == again
    assert isinstance(made.train, tuple)
    assert (len(made.train), len(made.rl), len(made.test)) == (14, 7, 7)
    assert all(u.attribution for u in (*made.train, *made.rl, *made.test))
    assert all(Path(u.clip.path).is_file() for u in made.train)
    card = json.loads((tmp_path / "data" / "stats.json").read_text("utf-8"))
    assert card["quarantined"] == {"train": 0, "rl": 0, "test": 0}
    assert (tmp_path / "data" / "quarantined.jsonl").read_text("utf-8") == ""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """Quotes the sentence, but makes a cause up for who is angry, always, and for fear at first."""
    served = Endpoint()

    def script(number: int) -> Reply:
        asked = json.loads(served.requests[number]["messages"][1]["content"])
        again = [r["messages"][1]["content"] for r in served.requests[:number]]
        first = served.requests[number]["messages"][1]["content"] not in again
        made_up = asked["emotion"] == "angry" or (asked["emotion"] == "fear" and first)
        cause = "the landlord raised the rent" if made_up else asked["sentence"].rstrip(".")
        return completion(json.dumps({"cause": cause, "plan": "stay with them"}))

    served.script = script
    yield served
    served.close()


def recipe(endpoint: Endpoint) -> AttributeRecipe:
    author = {"kind": "llm", "base_url": endpoint.url, "model": "m", "max_rejections": 2}
    return parse(AttributeRecipe, {"author": author})


def test_an_llm_is_asked_again_and_then_what_it_made_up_is_set_aside(
    endpoint: Endpoint, spoken: list[Utterance], tmp_path: Path
) -> None:
    write_manifest(tmp_path / "in" / "train.jsonl", spoken)
    done = attribute_manifest(tmp_path / "in" / "train.jsonl", tmp_path / "out", recipe(endpoint))
    angry = [u for u in spoken if u.emotion == "angry"]
    assert (done.utterances, done.quarantined) == (14 - len(angry), len(angry))
    kept = read_manifest(tmp_path / "out" / "train.jsonl")
    assert {u.emotion for u in kept} == {u.emotion for u in spoken} - {"angry"}
    assert all(u.attribution and u.attribution.plan == "stay with them" for u in kept)
    lines = (tmp_path / "out" / "quarantined.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["what"] for row in rows] == [u.id for u in angry]
    assert all("the cause is not in the words" in row["reasons"][0] for row in rows)
    before = len(endpoint.requests)
    # Two sentences in seven emotions, and once more for each that was refused.
    assert before == 14 + 2 + 2
    attribute_manifest(tmp_path / "in" / "train.jsonl", tmp_path / "out", recipe(endpoint))
    assert len(endpoint.requests) == before


def test_nothing_is_set_aside_because_nobody_answered(
    endpoint: Endpoint, spoken: list[Utterance], tmp_path: Path
) -> None:
    write_manifest(tmp_path / "in" / "train.jsonl", spoken[:2])
    author = {"kind": "llm", "base_url": "http://127.0.0.1:9/v1", "model": "m", "max_attempts": 1}
    nobody = parse(AttributeRecipe, {"author": author})
    with pytest.raises(RunError, match="attribution of u0"):
        attribute_manifest(tmp_path / "in" / "train.jsonl", tmp_path / "out", nobody)
    assert not (tmp_path / "out" / "quarantined.jsonl").exists()
    with pytest.raises(ConfigError, match="is the manifest's own folder"):
        attribute_manifest(tmp_path / "in" / "train.jsonl", tmp_path / "in", recipe(endpoint))
    with pytest.raises(ConfigError, match=r"author\.kind must be llm"):
        parse(AttributeRecipe, {"author": {"kind": "embedded"}})

"""The embedded author of ambiguity chains, and the cues it writes about."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sounds import an_utterance, sine

from cogaudio_rl import ambiguity
from cogaudio_rl.data.audio import write_audio
from cogaudio_rl.data.lime import synthesise
from cogaudio_rl.data.lime.chains import ranked, with_chains, write_chain
from cogaudio_rl.data.lime.cues import LEVELS, Cues, Measured, cues_among, cues_of, measure
from cogaudio_rl.data.lime.synthesise import PROTOTYPES, Prosody
from cogaudio_rl.errors import DataError
from cogaudio_rl.models import lessons
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import LIME_EMOTIONS, Utterance

EVEN = Cues(volume=2, speed=2, pitch=2, tone=2)
CUES = st.builds(
    Cues,
    **{name: st.integers(0, len(words) - 1) for name, words in LEVELS.items()},
)


@st.composite
def counted(draw: st.DrawFn) -> dict[str, float]:
    counts = draw(st.lists(st.integers(0, 9), min_size=7, max_size=7).filter(any))
    return {e: n / sum(counts) for e, n in zip(LIME_EMOTIONS, counts, strict=True)}


@given(votes=counted(), cues=CUES, seed=st.integers(0, 50))
def test_a_chain_can_be_read_back_and_ends_with_a_majority(
    votes: dict[str, float], cues: Cues, seed: int
) -> None:
    chain = write_chain(votes, cues, seed=seed)
    assert ambiguity.parse(ambiguity.render(chain)) == chain
    assert votes[chain.emotion] == max(votes.values())
    assert chain == write_chain(votes, cues, seed=seed)
    for name, level in cues.named().items():
        assert f"{name} {level}" in chain.voice.lower()
    order = ranked(votes, cues)
    told = f" {chain.synthesis.lower()}"
    assert {e for e in LIME_EMOTIONS if f" {e}" in told} == set(order[:2])
    named = {e for e in LIME_EMOTIONS if f" {e}" in f" {chain.voice}"}
    assert named == set(order[:2])
    assert not any(e in chain.words for e in LIME_EMOTIONS)


def test_cues_speak_for_the_emotion_they_are_nearer_to() -> None:
    """Loud and fast as anger is, high as joy is: of (volume, speed, pitch, tone) angry has the levels
    4, 3, 2, 2 and happy 2, 3, 3, 3."""
    cues = Cues(volume=4, speed=3, pitch=3, tone=2)
    chain = write_chain({"angry": 0.6, "happy": 0.4}, cues, seed=0)
    levels, speaks = chain.voice.removesuffix(".").split(". ")
    assert levels == "Volume loudest, speed fast, pitch high, tone lively"
    for_angry, for_happy = speaks.split(", ")
    assert for_angry.startswith("Volume and tone")
    assert for_angry.endswith("angry")
    assert for_happy.startswith("pitch ")
    assert for_happy.endswith("happy")
    assert "speed" not in speaks


AMOUNTS = ("all", "most", "many", "some", "few", "half", "nearly", "majority", "%")


@given(cues=CUES, seed=st.integers(0, 50), share=st.floats(0.51, 0.99))
def test_no_chain_tells_how_votes_are_shared(cues: Cues, seed: int, share: float) -> None:
    """The same order of the same two emotions is the same chain, whatever their shares."""
    votes = {"sad": share, "fear": 1 - share}
    chain = write_chain(votes, cues, seed=seed)
    assert chain == write_chain({"sad": 0.6, "fear": 0.4}, cues, seed=seed)
    assert chain != write_chain({"sad": 0.4, "fear": 0.6}, cues, seed=seed)
    words = re.findall(r"[a-z%]+|[0-9]", ambiguity.render(chain).lower())
    assert not set(words) & {*AMOUNTS, *"0123456789"}


@given(cues=CUES, seed=st.integers(0, 50), share=st.floats(0.51, 0.99))
def test_nor_that_all_agree(cues: Cues, seed: int, share: float) -> None:
    """Where some hear what the cues are next nearest to, the chain is that of a unanimous vote."""
    agreed = dict.fromkeys(LIME_EMOTIONS, 0.0) | {"sad": 1.0}
    nearest = ranked(agreed, cues)[1]
    divided = agreed | {"sad": share, nearest: 1 - share}
    assert write_chain(divided, cues, seed=seed) == write_chain(agreed, cues, seed=seed)


def test_a_tie_goes_to_the_nearer_prototype() -> None:
    votes = {"sad": 0.4, "angry": 0.4, "happy": 0.2}
    for emotion in ("sad", "angry"):
        assert ranked(votes, cues_of(PROTOTYPES[emotion]))[0] == emotion
    assert ranked(votes, cues_of(PROTOTYPES["happy"]))[-1] == "happy"


def test_where_all_agree_the_other_is_what_the_cues_are_nearest_to_next() -> None:
    votes = dict.fromkeys(LIME_EMOTIONS, 0.0) | {"angry": 1.0}
    assert ranked(votes, cues_of(PROTOTYPES["sad"]))[:2] == ["angry", "sad"]
    assert ranked(votes, cues_of(PROTOTYPES["happy"]))[:2] == ["angry", "happy"]


def test_wording_varies_and_facts_do_not() -> None:
    votes = {"disgust": 0.7, "sad": 0.3}
    cues = cues_of(PROTOTYPES["disgust"])
    chains = [write_chain(votes, cues, seed=seed) for seed in range(200)]
    assert len({ambiguity.render(chain) for chain in chains}) > 40
    assert {chain.emotion for chain in chains} == {"disgust"}
    assert len({chain.voice.split(".")[0] for chain in chains}) == 1


def test_what_has_no_prototype_or_no_votes_is_refused() -> None:
    with pytest.raises(DataError, match="how 'frustrated' sounds is not known; known: neutral"):
        write_chain({"frustrated": 1.0}, EVEN, seed=0)
    with_fear = {"frustrated": 0.0, "sad": 1.0, "fear": 0.0}
    assert write_chain(with_fear, EVEN, seed=0).emotion == "sad"
    with pytest.raises(DataError, match="weighs 'sad' against another emotion"):
        write_chain({"frustrated": 0.0, "sad": 1.0}, EVEN, seed=0)
    with pytest.raises(DataError, match="nobody voted"):
        write_chain({"sad": 0.0}, EVEN, seed=0)


# -- cues ----------------------------------------------------------------------------------------


def test_levels_are_what_the_base_was_taught_to_hear() -> None:
    renamed = {"volume": "Loudness", "speed": "Pace", "pitch": "Pitch", "tone": "Movement"}
    assert {renamed[name]: words for name, words in LEVELS.items()} == lessons.LEVELS
    rng = np.random.default_rng(0)
    for u in rng.uniform(-1, 1, (100, 4)):
        said = Prosody(pitch=40 * u[0], pace=0.4 * u[1], loudness_db=9 * u[2], movement=40 * u[3])
        named = {renamed[name]: level for name, level in cues_of(said).named().items()}
        assert lessons.describe(said) == ", ".join(f"{n} {named[n]}" for n in lessons.LEVELS) + "."


def test_every_emotion_has_cues_of_its_own() -> None:
    found = {emotion: cues_of(prosody) for emotion, prosody in PROTOTYPES.items()}
    for one, other in itertools.combinations(found.values(), 2):
        assert one != other


def test_what_is_measured_is_what_was_spoken() -> None:
    """One voice, one sentence: each cue moves with its own part of the prosody."""
    rng = rng_for(0, "measured")
    said = [
        Prosody(pitch=22 * u[0], pace=0.3 * u[1], loudness_db=7 * u[2], movement=35 * u[3])
        for u in rng.uniform(-1, 1, (24, 4))
    ]
    synthesise.begin(["f2"], "en")
    text = "The new manager moved to another city."
    sounds = [synthesise.speak(text, voice="f2", language="en", prosody=p, rng=rng) for p in said]
    found = cues_among([measure(sound, text, "en") for sound in sounds])
    for name, field, least in (
        ("volume", "loudness_db", 0.8),
        ("speed", "pace", 0.5),
        ("pitch", "pitch", 0.8),
        ("tone", "movement", 0.5),
    ):
        levels = [getattr(cues, name) for cues in found]
        asked = [getattr(prosody, field) for prosody in said]
        assert np.corrcoef(levels, asked)[0, 1] > least, name


def test_levels_are_relative_to_the_speakers_others() -> None:
    loud = [Measured(volume=v, speed=4.0, pitch=80.0, tone=6.0) for v in (-20, -26, -32)]
    soft = [dataclasses.replace(one, volume=one.volume - 20) for one in loud]
    assert cues_among(loud) == cues_among(soft)
    assert [cues.volume for cues in cues_among(loud)] == [4, 2, 0]
    assert {cues.speed for cues in cues_among(loud)} == {2}
    assert cues_among(loud[:1])[0].volume == 2
    assert cues_among([]) == ()


@pytest.mark.parametrize("sound", [np.zeros(10), np.zeros(16_000), sine(seconds=0.2)])
def test_any_sound_has_numbers(sound: np.ndarray) -> None:
    assert np.isfinite(dataclasses.astuple(measure(sound.astype(np.float32), "a b", "en"))).all()


# -- corpora with votes --------------------------------------------------------------------------


def voted(folder: Path) -> list[Utterance]:
    found: list[Utterance] = []
    for speaker, gain in (("a", 1.0), ("b", 0.1)):
        for place, level in enumerate((0.2, 1.0)):
            sound = (gain * level * sine(seconds=0.4)).astype(np.float32)
            ref = write_audio(folder / f"{speaker}{place}.flac", sound)
            votes = {"sad": 0.75, "angry": 0.25}
            base = an_utterance(f"{speaker}{place}", speaker=speaker, emotion="sad")
            found.append(dataclasses.replace(base, audio=ref, votes=votes, listeners=4))
    return found


def test_chains_of_a_corpus_are_relative_to_each_speaker(tmp_path: Path) -> None:
    clips, told = voted(tmp_path), list[int]()
    found = with_chains(clips, seed=0, progress=lambda done, _: told.append(done))
    assert told == [1, 2, 3, 4]
    assert [u.id for u in found] == ["a0", "a1", "b0", "b1"]
    for utterance, level in zip(found, ("soft", "loud") * 2, strict=True):
        assert utterance.ambiguity is not None
        assert f"Volume {level}, " in utterance.ambiguity.voice
        assert utterance.ambiguity.emotion == "sad"
    assert found == with_chains(clips, seed=0)
    assert found != with_chains(clips, seed=1)


def test_a_chain_takes_votes_and_a_sound(tmp_path: Path) -> None:
    clips = voted(tmp_path)
    for field, told in (("votes", "'a1' has no votes"), ("audio", "'a1' has no sound")):
        changed = [clips[0], dataclasses.replace(clips[1], **{field: None})]
        with pytest.raises(DataError, match=told):
            with_chains(changed, seed=0)

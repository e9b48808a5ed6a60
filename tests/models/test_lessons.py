"""What the base is taught, and above all what it is not: that a voice means an emotion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_world import make_config

from cogaudio_rl.data.lime import author
from cogaudio_rl.data.lime.synthesise import Prosody
from cogaudio_rl.models import tiny
from cogaudio_rl.models.lessons import (
    REPEAT,
    Clip,
    ExampleMaker,
    TextSource,
    bland_turn,
    collate,
    conversation,
    describe,
    draw_clip,
)
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.models.pretrain import PretrainSettings, lesson, make_base
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import LIME_EMOTIONS


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    extractor = tiny.build_processor(tiny.build_tokenizer(["a"], vocab_size=300)).feature_extractor
    rng = rng_for(0, "clips")
    return [draw_clip("train", extractor, rng, fragments=0.5) for _ in range(12)]


@pytest.fixture(scope="module")
def maker() -> ExampleMaker:
    lines = [TextSource().line(rng_for(0, "lines", i)) for i in range(300)]
    return ExampleMaker(tiny.build_tokenizer(lines, vocab_size=600))


def test_a_voice_is_described_level_by_level() -> None:
    assert describe(Prosody(pitch=0, pace=0, loudness_db=0, movement=10)) == (
        "Pitch middle, Pace medium, Loudness normal, Movement lively."
    )
    assert describe(Prosody(pitch=-30, pace=0.3, loudness_db=-7, movement=-30)) == (
        "Pitch lowest, Pace fastest, Loudness faintest, Movement flat."
    )


def test_what_is_said_of_a_sound_never_names_an_emotion(clips: list[Clip]) -> None:
    rng = rng_for(0, "turns")
    for clip in clips * 5:
        answers = [answer for _, answer in (*conversation(clip, rng), *bland_turn(clip, rng))]
        said = " ".join(answers).lower().replace(clip.words.lower(), "")
        assert not [emotion for emotion in LIME_EMOTIONS if emotion in said]


def test_a_bland_reply_knows_the_words_alone(clips: list[Clip]) -> None:
    clip = clips[0]
    other = Clip(clip.features * 0, clip.sentence, clip.words, Prosody(pitch=40))
    assert bland_turn(clip, rng_for(1))[0][1] == bland_turn(other, rng_for(1))[0][1]


def test_emotions_it_reads_are_spread_evenly_over_sounds() -> None:
    """Each read line is drawn on its own: nothing about a clip can foretell the emotion in it."""
    source, rng = TextSource(), rng_for(3, "lines")
    lines = [source.line(rng) for _ in range(3000)]
    counts = [sum(f"Emotion: {e}" in line for line in lines) for e in LIME_EMOTIONS]
    assert min(counts) > 0.7 * np.mean(counts)


def test_only_train_texts(clips: list[Clip]) -> None:
    held_out = {s.text_id for s in author.split_sentences("en")["test"]}
    assert not held_out & {c.sentence.text_id for c in clips}
    source = TextSource()
    assert not held_out & {s.text_id for s in source.sentences}


def test_the_model_is_asked_to_say_the_answers_only(clips: list[Clip], maker: ExampleMaker) -> None:
    clip, source = clips[0], TextSource()
    for task in ("hear", "reply", "read"):
        rng = rng_for(0, task)
        example = lesson(task, [c for c in clips if c.whole], maker, source, rng)
        said = [i for i, spoken in zip(example.ids, example.spoken, strict=True) if spoken]
        assert maker.audio_id not in said
        assert said[-1] == maker.eos_id
    read = maker.audio(clip, [(REPEAT + "a b", "a b")])
    batch = collate([read, maker.text("x", "y")], maker.pad_id)
    assert batch["input_features"].shape[0] == 1
    assert int((batch["labels"] != -100).sum()) == sum(read.spoken) + 2


@pytest.mark.slow
def test_the_command_that_makes_the_base_leaves_a_checkpoint(tmp_path: Path) -> None:
    few = PretrainSettings(ear_steps=2, steps=2, batch_size=3)
    heard = make_base(tmp_path / "base", few, lambda _line: None)
    assert set(heard) == {"exact", "pitch", "pace", "loudness", "movement"}
    policy = Policy.load(make_config(tmp_path / "base").model)
    assert policy.trained_parameters()

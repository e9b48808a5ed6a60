"""Parts are whole or not there, depend on recipe and number alone, and let nothing bad in."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cogaudio_rl import prompts
from cogaudio_rl.config import parse
from cogaudio_rl.data.audio import probe_audio, read_audio
from cogaudio_rl.data.lime import finish as finishing
from cogaudio_rl.data.lime import speakers, synthesise
from cogaudio_rl.data.lime.factory import (
    MANIFEST,
    REJECTED,
    SEAL,
    WrittenPart,
    is_made,
    lines_of,
    part_folder,
    speak_part,
    sweep_drafts,
    write_part,
)
from cogaudio_rl.data.lime.finish import claim, finish
from cogaudio_rl.data.lime.plan import family
from cogaudio_rl.data.lime.recipe import LimeRecipe, SpeakerConfig
from cogaudio_rl.data.lime.speakers import (
    MAX_EMOTION_SUM,
    Espeak,
    IndexTts2,
    Line,
    Sound,
    emotion_vector,
    make_speaker,
)
from cogaudio_rl.data.manifest import read_manifest
from cogaudio_rl.errors import ConfigError, DataError, RunError
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import INTENSITIES, LIME_EMOTIONS


def recipe(**values: Any) -> LimeRecipe:
    return parse(
        LimeRecipe, {"utterances": 21 * 4, "families_per_part": 2, "test_share": 0.25} | values
    )


def written(asked: LimeRecipe, number: int = 0) -> WrittenPart:
    return asyncio.run(write_part(asked, number, Path("nowhere")))


def make_all(asked: LimeRecipe, root: Path, order: Sequence[int], speaker: Any = None) -> None:
    claim(root, asked)
    for number in order:
        speak_part(written(asked, number), asked, speaker or Espeak(), root)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus") / "lime"
    make_all(recipe(), root, (0, 1))
    finish(root, recipe())
    return root


def test_a_part_is_every_style_of_its_families(corpus: Path) -> None:
    assert is_made(corpus, 0)
    found = read_manifest(part_folder(corpus, 0) / MANIFEST)
    styles = {(u.emotion, u.intensity) for u in found}
    assert styles == {(e, i) for e in LIME_EMOTIONS for i in INTENSITIES}
    assert len(found) == 2 * 21
    for utterance in found:
        audio, notes = probe_audio(utterance.clip.path)
        assert audio == utterance.audio
        assert not notes
        assert utterance.acoustics is not None
        assert utterance.annotation is not None
        assert utterance.annotation.eips.emotion == utterance.emotion


def test_the_corpus_is_split_by_text_and_by_voice(corpus: Path) -> None:
    train, test = read_manifest(corpus / "train.jsonl"), read_manifest(corpus / "test.jsonl")
    assert len(train) + len(test) == 21 * 4
    assert not {u.text_id for u in train} & {u.text_id for u in test}
    assert not {u.speaker for u in train} & {u.speaker for u in test}
    listed = (corpus / "splits" / "test_texts.txt").read_text("utf-8").split()
    assert listed == sorted({u.text_id for u in test})


def test_the_card_names_the_model_and_the_prompts_that_were_asked(
    corpus: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(corpus, tmp_path / "asked"))
    author = {"kind": "llm", "base_url": "http://127.0.0.1:1/v1", "model": "m7"}
    finish(copy, recipe(author=author))
    facts = json.loads((copy / "card.json").read_text("utf-8"))["facts"]
    assert facts["model"] == "m7"
    assert facts["prompt annotate"] == prompts.digest("lime_annotate.md")
    assert len({facts[f"prompt {name}"] for name in ("write", "ambiguity", "annotate")}) == 3


def test_the_order_in_which_parts_are_made_changes_nothing(corpus: Path, tmp_path: Path) -> None:
    make_all(recipe(), tmp_path / "again", (1, 0))
    again = finish(tmp_path / "again", recipe())
    assert again == finish(corpus, recipe())
    assert again.utterances == 21 * 4


def test_two_at_one_part_leave_it_whole(corpus: Path, tmp_path: Path) -> None:
    seals = [speak_part(written(recipe()), recipe(), Espeak(), tmp_path) for _ in range(2)]
    (tmp_path / "parts" / "00000.partial-dead").mkdir()
    sweep_drafts(tmp_path)
    assert [p.name for p in (tmp_path / "parts").iterdir()] == ["00000"]
    assert seals[0]["digest"] == seals[1]["digest"] == whole_digest(part_folder(tmp_path, 0))
    assert whole_digest(part_folder(corpus, 0)) == seals[0]["digest"]


def whole_digest(folder: Path) -> str:
    """What a seal says, of the files that lie there."""
    hashed = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.iterdir()):
        if path.name != SEAL:
            hashed.update(path.name.encode() + b"\0" + path.read_bytes())
    return hashed.hexdigest()


def test_another_seed_is_another_corpus(corpus: Path, tmp_path: Path) -> None:
    make_all(recipe(seed=1), tmp_path / "other", (0, 1))
    assert finish(tmp_path / "other", recipe(seed=1)).digest != finish(corpus, recipe()).digest


def test_a_folder_belongs_to_one_recipe(corpus: Path, tmp_path: Path) -> None:
    claim(corpus, recipe())
    with pytest.raises(DataError, match="was begun with seed=0, not 1; name another folder"):
        claim(corpus, recipe(seed=1))
    (tmp_path / "something").write_text("else")
    with pytest.raises(DataError, match="holds something else"):
        claim(tmp_path, recipe())


def test_where_the_makers_are_may_change_between_two_goes(tmp_path: Path) -> None:
    there = {"kind": "llm", "base_url": "http://127.0.0.1:1/v1", "model": "m"}
    claim(tmp_path, recipe(author=there))
    claim(tmp_path, recipe(author=there | {"base_url": "http://10.0.0.9:8000/v1", "timeout_s": 9}))
    with pytest.raises(DataError, match="was begun with author="):
        claim(tmp_path, recipe(author=there | {"model": "another"}))


def test_a_folder_whose_claim_was_cut_off_can_be_claimed(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml.partial").write_text("name: li")
    claim(tmp_path, recipe())
    claim(tmp_path, recipe())


def test_the_leak_test_hears_every_language_and_split(tmp_path: Path) -> None:
    asked = recipe(utterances=21 * 40, families_per_part=40)
    make_all(asked, tmp_path, (0,))
    leaks = finish(tmp_path, asked).leaks
    assert leaks is not None
    assert (leaks.utterances, leaks.families) == (840, 40)
    # Nothing but the voice tells: within the interval of guessing, and the voice far above it.
    assert leaks.text_accuracy == pytest.approx(leaks.chance)
    assert leaks.leaking == ()
    assert leaks.intervals["acoustic"][0] > 3 * leaks.chance


def test_a_large_corpus_is_sampled_in_all_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finishing, "_SAMPLE", 21 * 12)
    asked = recipe(utterances=21 * 24, families_per_part=24, test_share=0.5)
    make_all(asked, tmp_path, (0,))
    leaks = finish(tmp_path, asked).leaks
    assert leaks is not None
    assert leaks.families == 12
    order = rng_for(asked.seed, "leak", "sample").permutation(asked.families)[:12]
    kinds = {(f.language, f.split) for f in (family(asked, int(i)) for i in order)}
    assert len(kinds) == 4


def test_long_sentences_are_not_cut_short() -> None:
    text = "The committee went through the list of every room, every chair and every lamp "
    text += "in the old building."
    line = Line(text=text, language="en", emotion="sad", intensity="high", voice="m8", seed=0)
    (sound,) = Espeak().say([line])
    assert sound.size / 16_000 > synthesise.MAX_SECONDS


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    make_all(recipe(), tmp_path / "half", (0,))
    with pytest.raises(DataError, match="part 1 is not whole"):
        finish(tmp_path / "half", recipe())


class Faulty:
    """Speaks as espeak does, but for one emotion that is digital silence: at first, or always."""

    def __init__(self, emotion: str, *, times: int) -> None:
        self._espeak, self._emotion, self._left = Espeak(), emotion, times
        self.asked = 0

    def voices(self, split: str, language: str) -> Sequence[str]:
        return self._espeak.voices(split, language)

    def say(self, lines: Sequence[Line]) -> list[Sound]:
        sounds = self._espeak.say(lines)
        self.asked += len(lines)
        for i, line in enumerate(lines):
            if line.emotion == self._emotion and self._left > 0:
                self._left -= 1
                sounds[i] = np.zeros(16_000, np.float32)
        return sounds


def test_a_bad_sound_is_spoken_anew(tmp_path: Path) -> None:
    speaker = Faulty("sad", times=2)
    seal = speak_part(written(recipe()), recipe(), speaker, tmp_path)
    assert (seal["utterances"], seal["rejected"]) == (42, 0)
    assert speaker.asked == 42 + 2


def test_a_family_without_one_emotion_is_refused_whole(tmp_path: Path) -> None:
    speaker = Faulty("sad", times=3 * recipe().attempts)  # the first family never has it
    seal = speak_part(written(recipe()), recipe(), speaker, tmp_path)
    assert seal["utterances"] == 21
    lines = (part_folder(tmp_path, 0) / REJECTED).read_text("utf-8").splitlines()
    reasons = [json.loads(line)["reasons"][0] for line in lines]
    assert sum(reason.startswith("no sound") for reason in reasons) == 3
    assert sum(reason == "family incomplete: nothing in 'sad'" for reason in reasons) == 18


def test_a_draft_that_was_swept_away_is_not_sealed(tmp_path: Path) -> None:
    class Sweeping(Faulty):
        def say(self, lines: Sequence[Line]) -> list[Sound]:
            if self.asked == 21:  # in the middle of the part
                sweep_drafts(tmp_path)
            return super().say(lines)

    with pytest.raises(RunError, match="is gone: another build is at work"):
        speak_part(written(recipe()), recipe(), Sweeping("none", times=0), tmp_path)
    assert not is_made(tmp_path, 0)


class Runaway(Faulty):
    """One line never ends."""

    def say(self, lines: Sequence[Line]) -> list[Sound]:
        sounds = self._espeak.say(lines)
        for i, line in enumerate(lines):
            if (line.emotion, line.intensity) == ("sad", "high"):
                sounds[i] = np.tile(sounds[i], 30)
        return sounds


def test_a_line_that_runs_away_does_not_stretch_the_others(tmp_path: Path) -> None:
    seal = speak_part(written(recipe()), recipe(), Runaway("sad", times=0), tmp_path)
    assert (seal["utterances"], seal["rejected"]) == (40, 2)
    made = read_manifest(part_folder(tmp_path, 0) / MANIFEST)
    assert max(u.clip.seconds for u in made) < 8


def test_the_same_sound_twice_is_seen_before_rooms_make_it_another(tmp_path: Path) -> None:
    class Parrot(Faulty):
        def say(self, lines: Sequence[Line]) -> list[Sound]:
            sounds = self._espeak.say(lines)
            return [sounds[0]] * 2 + sounds[2:]

    seal = speak_part(written(recipe()), recipe(), Parrot("none", times=0), tmp_path)
    twice = Counter(seal["audio_hashes"].values())
    assert sorted(twice.values())[-2:] == [2, 2]


def test_no_voice_draws_from_a_generator_that_others_share() -> None:
    import espeakng_loader

    folder = Path(str(espeakng_loader.get_data_path())) / "voices" / "!v"
    for split in ("train", "test"):
        for voice in Espeak().voices(split, "en"):
            assert "\nklatt" not in (folder / voice).read_text("utf-8", errors="replace")


def test_a_line_sounds_the_same_whatever_was_said_before() -> None:
    speaker, one = Espeak(), written(recipe()).families[0]
    lines = lines_of(one, recipe(), speaker)
    first = speaker.say(lines)
    speaker.say(lines[3:9])
    again = speaker.say(lines)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


# -- IndexTTS2 -----------------------------------------------------------------------------------


class DoubleOfIndexTts2:
    """Has the signature of ``IndexTTS2.infer``; its speech is espeak's."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.broken = False

    def infer(
        self, spk_audio_prompt: str, text: str, output_path: str, emo_audio_prompt: Any = None,
        emo_alpha: float = 1.0, emo_vector: Any = None, use_emo_text: bool = False,
        emo_text: Any = None, use_random: bool = False,
    ) -> None:  # fmt: skip
        import soundfile

        self.calls.append({"voice": spk_audio_prompt, "alpha": emo_alpha, "vector": emo_vector})
        line = Line(text=text, language="en", emotion="sad", intensity="mid", voice="m1", seed=0)
        soundfile.write(output_path, Espeak().say([line])[0], 22_050)


def test_indextts2_gets_voice_emotion_and_intensity(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for language in ("en", "zh"):
            folder = tmp_path / split / language
            folder.mkdir(parents=True)
            (folder / f"{split}-anna.wav").write_bytes(b"")
    tts = DoubleOfIndexTts2()
    config = SpeakerConfig(kind="indextts2", voices_dir=tmp_path)
    speaker = IndexTts2(config, tts)
    asked = recipe(chinese_share=0.0, clean=True)
    lines = lines_of(written(asked).families[0], asked, speaker)
    sounds = speaker.say(lines[:3])
    assert [call["alpha"] for call in tts.calls] == [0.5, 0.75, 1.0]
    assert all(call["voice"].endswith("-anna.wav") for call in tts.calls)
    assert tts.calls[0]["vector"] == emotion_vector(lines[0].emotion)
    assert all(sound.size > 8_000 for sound in sounds)
    for emotion in LIME_EMOTIONS:
        assert len(emotion_vector(emotion)) == 8
        assert sum(emotion_vector(emotion)) == MAX_EMOTION_SUM
    with pytest.raises(DataError, match="IndexTTS2 has no emotion 'boredom'"):
        emotion_vector("boredom")


def test_indextts2_stumbles_over_a_line_and_not_over_all(tmp_path: Path) -> None:
    (tmp_path / "train" / "en").mkdir(parents=True)
    (tmp_path / "train" / "en" / "anna.wav").write_bytes(b"")

    class Stumbling(DoubleOfIndexTts2):
        def infer(self, *args: Any, **named: Any) -> None:
            if self.broken or named["emo_alpha"] == 1.0:
                raise ValueError("tensor of no elements")
            super().infer(*args, **named)

    tts = Stumbling()
    asked = recipe(chinese_share=0.0, clean=True)
    speaker = IndexTts2(SpeakerConfig(kind="indextts2", voices_dir=tmp_path), tts)
    lines = lines_of(written(asked).families[0], asked, speaker)[:3]
    assert [sound.size > 0 for sound in speaker.say(lines)] == [True, True, False]
    tts.broken = True
    with pytest.raises(RunError, match="IndexTTS2 cannot speak: ValueError: tensor of no"):
        speaker.say(lines)


def test_a_voice_on_both_sides_is_refused(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split / "en").mkdir(parents=True)
        (tmp_path / split / "en" / "anna.wav").write_bytes(b"")
    with pytest.raises(ConfigError, match="reference voice 'anna' is in train and in test"):
        IndexTts2(SpeakerConfig(kind="indextts2", voices_dir=tmp_path), DoubleOfIndexTts2())


def test_indextts2_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="voices_dir 'None' is not a folder"):
        make_speaker(SpeakerConfig(kind="indextts2"))
    with pytest.raises(ConfigError, match="needs the package indextts"):
        make_speaker(SpeakerConfig(kind="indextts2", voices_dir=tmp_path))
    assert speakers.make_speaker(SpeakerConfig()).voices("test", "zh")


def test_clean_is_clean(tmp_path: Path) -> None:
    asked = recipe(clean=True)
    speak_part(written(asked), asked, Espeak(), tmp_path)
    for utterance in read_manifest(part_folder(tmp_path, 0) / MANIFEST):
        drawn = utterance.acoustics
        assert drawn is not None
        assert (drawn.rt60_s, drawn.noise_snr_db, drawn.gain_db, drawn.band) == (
            None,
            None,
            0.0,
            "full",
        )
        assert float(np.abs(read_audio(utterance.clip.path)[0]).max()) < 0.99

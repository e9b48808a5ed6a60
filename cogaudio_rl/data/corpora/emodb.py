"""EmoDB, the Berlin Database of Emotional Speech (Burkhardt et al., Interspeech 2005).

Ten actors say the same ten German sentences in seven emotions: the words tell nothing, as in LIME.
File names: ``03a01Fa.wav`` is speaker 03, text a01, emotion F, version a. Sentences are few and
every actor says them all, so the split is by speaker and not by text.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from cogaudio_rl.config import DataConfig
from cogaudio_rl.data.audio import log_conversions, probe_audio
from cogaudio_rl.data.corpora.reading import Collector, Progress, Reading, silent
from cogaudio_rl.data.lime import author
from cogaudio_rl.data.lime.attributions import with_attributions
from cogaudio_rl.data.lime.author import Sentence
from cogaudio_rl.data.lime.depths import annotate_nth
from cogaudio_rl.data.manifest import validate_split
from cogaudio_rl.data.splits import Splits
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import AudioRef, Utterance

EMOTION_BY_LETTER: dict[str, str] = {
    "W": "angry",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
}
"""The letters stand for the German names: Wut, Langeweile, Ekel, Angst, Freude, Trauer, neutral."""

_NAME = re.compile(r"(?P<speaker>\d{2})(?P<text>[ab]\d{2})(?P<emotion>[A-Za-z])(?P<version>[a-z]?)")
KNOWN: dict[str, int | None] = {
    "utterances": 535,
    "speakers": 10,
    "texts": 10,
    "angry": 127,
    "boredom": 81,
    "disgust": 46,
    "fear": 69,
    "happy": 71,
    "neutral": 79,
    "sad": 62,
}
_SUFFIXES = (".wav", ".flac")
_DEFAULT_HELD_OUT = 2


def load_emodb(config: DataConfig, seed: int, *, attributed: bool = False) -> Splits:
    """Train on some speakers, test on others; RL sees the training utterances.

    ``test_root`` names a folder of other speakers to test on. Without it ``held_out_speakers`` are
    tested on, or the last two by number. ``attributed``: each with the embedded author's thought about
    emotion and cause. Raises DataError for a file whose name is not EmoDB's, for audio that cannot be
    read, for a folder without any, for a speaker on both sides, and for a thought that fails a check.
    """
    if config.root is None:
        raise DataError("data.root is not set; name the folder that holds EmoDB's audio files")
    found = read_emodb(config.root, config.depth_mix, seed)
    if config.test_root is not None:
        train, test = found, read_emodb(config.test_root, config.depth_mix, seed)
    else:
        held_out = _held_out(found, config.held_out_speakers)
        train = tuple(u for u in found if u.speaker not in held_out)
        test = tuple(u for u in found if u.speaker in held_out)
    validate_split(train, test, texts=False, speakers=True)
    if attributed:
        train, test = _with_thoughts(train), _with_thoughts(test)
    return Splits(train=train, rl=train, test=test)


def _with_thoughts(utterances: Sequence[Utterance]) -> tuple[Utterance, ...]:
    # Ten sentences, which public copies cut to one length: how many of its letters are heard in a
    # second then tells the sentence, not the voice.
    found = with_attributions(utterances, within_words=True)
    for name, reasons in found.quarantined.items():
        raise DataError(f"utterance {name!r}: its thought is no good: {'; '.join(reasons)}")
    return found.utterances


def read_emodb(root: Path, depth_mix: Sequence[float], seed: int) -> tuple[Utterance, ...]:
    """Every utterance of ``root`` or ``root/wav``, by file name.

    Annotations are the embedded author's, in English. Conversions that reading will need are
    logged once for each kind. The folder is only read.
    """
    found = _audio_files(root)
    _refuse_twins(found)
    maker, notes = _Maker(depth_mix, seed), defaultdict[str, list[str]](list)
    utterances: list[Utterance] = []
    for path in found:
        parsed = _parse_name(path)
        audio, conversions = probe_audio(path)
        for note in conversions:
            notes[note].append(audio.path)
        utterances.append(maker.make(path, parsed, audio))
    log_conversions(notes)
    return tuple(utterances)


def read(root: Path, *, progress: Progress = silent) -> Reading:
    """As :func:`read_emodb`, but what cannot be used is rejected with its reason."""
    found = Collector(root, progress=progress)
    maker = _Maker(DataConfig().depth_mix, seed=0)
    for path in found.each(_audio_files(root)):
        try:
            parsed = _parse_name(path)
        except DataError as error:
            found.reject(path, str(error))
            continue
        if (audio := found.audio(path)) is not None:
            found.add(maker.make(path, parsed, audio), path)
    return found.reading(KNOWN)


class _Maker:
    """Utterances with annotations; those of one sentence in one emotion get different ones."""

    def __init__(self, depth_mix: Sequence[float], seed: int) -> None:
        self._mix, self._seed = depth_mix, seed
        self._nth: Counter[tuple[str, str]] = Counter()

    def make(self, path: Path, parsed: tuple[str, Sentence, str], audio: AudioRef) -> Utterance:
        speaker, sentence, emotion = parsed
        nth = self._nth[sentence.text_id, emotion]
        self._nth[sentence.text_id, emotion] += 1
        return Utterance(
            id=f"emodb_{path.stem}",
            text_id=sentence.text_id,
            audio=audio,
            transcript=sentence.text,
            emotion=emotion,
            intensity="mid",
            speaker=f"emodb_{speaker}",
            language=sentence.language,
            scenario=sentence.scenario,
            annotation=annotate_nth(sentence, emotion, nth=nth, mix=self._mix, seed=self._seed),
        )


def _audio_files(root: Path) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"folder {str(root)!r} does not exist")
    for folder in (root / "wav", root):
        # Dot files are what macOS leaves beside each file of an archive.
        found = sorted(
            path
            for path in (folder.iterdir() if folder.is_dir() else ())
            if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
        )
        if found:
            return found
    raise DataError(f"no .wav or .flac files in {str(root)!r} or in its folder 'wav'")


def _refuse_twins(paths: Sequence[Path]) -> None:
    stem, times = Counter(path.stem for path in paths).most_common(1)[0]
    if times > 1:
        raise DataError(f"{str(paths[0].parent / stem)!r} is there both as .wav and as .flac")


def _parse_name(path: Path) -> tuple[str, Sentence, str]:
    """Speaker, sentence, emotion. Raises DataError for another name than EmoDB's."""
    sentences = {s.text_id: s for s in author.emodb_sentences()}
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise DataError(
            f"audio file {str(path)!r} is not named as EmoDB names its files, such as '03a01Fa.wav'"
        )
    emotion = EMOTION_BY_LETTER.get(match["emotion"])
    if emotion is None:
        known = ", ".join(f"{letter} {name}" for letter, name in EMOTION_BY_LETTER.items())
        raise DataError(
            f"audio file {str(path)!r}: unknown emotion letter {match['emotion']!r}; known: {known}"
        )
    sentence = sentences.get(f"emodb_{match['text']}")
    if sentence is None:
        known = ", ".join(name.removeprefix("emodb_") for name in sentences)
        raise DataError(f"audio file {str(path)!r}: unknown text {match['text']!r}; known: {known}")
    return match["speaker"], sentence, emotion


def _held_out(utterances: Sequence[Utterance], wanted: Sequence[str]) -> frozenset[str]:
    speakers = sorted({u.speaker for u in utterances})
    if not wanted:
        return frozenset(speakers[-_DEFAULT_HELD_OUT:])
    for name in wanted:
        if f"emodb_{name}" not in speakers:
            known = ", ".join(s.removeprefix("emodb_") for s in speakers)
            raise DataError(f"data.held_out_speakers: no speaker {name!r}; there are {known}")
    return frozenset(f"emodb_{name}" for name in wanted)

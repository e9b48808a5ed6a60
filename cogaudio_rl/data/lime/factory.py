"""The factory's steps as plain functions; :mod:`actors.factory` strings them into a graph on Ray Data.

    family ─► sentence ─► annotations ─► speech ─► checks ─► acoustics ─► FLAC and manifest
              write_part                 speak_part

A part (a few families) is what one worker makes in one go. It appears on disk whole or not at all and
depends on recipe and number alone: a build that was killed makes what is missing and ends with the same
corpus, byte for byte, as one that was not.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cogaudio_rl.answer_cache import AnswerCache
from cogaudio_rl.data.audio import SAMPLE_RATE_HZ, write_audio
from cogaudio_rl.data.lime import acoustics, quality
from cogaudio_rl.data.lime.annotate import ANNOTATION, Annotator, EmbeddedAnnotator, LlmAnnotator
from cogaudio_rl.data.lime.author import Sentence, split_sentences
from cogaudio_rl.data.lime.plan import Family, part
from cogaudio_rl.data.lime.recipe import LimeRecipe
from cogaudio_rl.data.lime.speakers import Line, Sound, Speaker
from cogaudio_rl.data.lime.write import EmbeddedWriter, LlmWriter, Refused, Writer
from cogaudio_rl.data.manifest import write_manifest
from cogaudio_rl.endpoint import ChatEndpoint
from cogaudio_rl.errors import RunError
from cogaudio_rl.seeding import rng_for, seed_for
from cogaudio_rl.types import INTENSITIES, LIME_EMOTIONS, Acoustics, Annotation, Utterance

MANIFEST, REJECTED, SEAL = "manifest.jsonl", "rejected.jsonl", "part.json"
_CLEAN = acoustics.AcousticSettings(
    speed=(1.0, 1.0), room_share=0.0, noise_share=0.0, gain_db=(0.0, 0.0), telephone_share=0.0
)
_PARTIAL = ".partial-"
_SPARE_S = (0.15, 1.2)
"""Silence of a family's longest member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A family with its words: an annotation for each emotion that has one."""

    family: Family
    sentence: Sentence
    annotations: dict[str, Annotation]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenPart:
    """What the writer and the annotator made of one part, and what they refused on the way."""

    number: int
    families: tuple[Written, ...]
    refused: tuple[Refused, ...]


def part_folder(root: Path, number: int) -> Path:
    return root / "parts" / f"{number:05d}"


def is_made(root: Path, number: int) -> bool:
    return (part_folder(root, number) / SEAL).is_file()


# -- words ---------------------------------------------------------------------------------------


async def write_part(recipe: LimeRecipe, number: int, answers: Path) -> WrittenPart:
    """Sentences and annotations of a part; what an LLM answered is kept in ``answers``.

    Raises RunError where the endpoint could not be asked: what it would have said is not refused.
    """
    if recipe.author.kind == "embedded":
        return await _write(recipe, number, EmbeddedWriter(recipe), EmbeddedAnnotator(recipe))
    endpoint, cache = ChatEndpoint(recipe.author), AnswerCache(answers)
    try:
        return await _write(
            recipe,
            number,
            LlmWriter(recipe, endpoint, cache),
            LlmAnnotator(recipe.author, endpoint, cache),
        )
    finally:
        await endpoint.close()


async def _write(
    recipe: LimeRecipe, number: int, writer: Writer, annotator: Annotator
) -> WrittenPart:
    done = await asyncio.gather(
        *(_write_family(f, writer, annotator) for f in part(recipe, number))
    )
    refused = tuple(r for _, more in done for r in more)
    for one in refused:
        if one.outage:
            raise RunError(
                f"{one.what}: {one.reasons[0]}; mend the endpoint and give the same command again, "
                "answers that came are kept"
            )
    families = tuple(written for written, _ in done if written is not None)
    return WrittenPart(number=number, families=families, refused=refused)


async def _write_family(
    family: Family, writer: Writer, annotator: Annotator
) -> tuple[Written | None, list[Refused]]:
    sentence, refused = await writer.sentence(family)
    if sentence is None:
        return None, refused
    earlier = family.nth // len(split_sentences(family.language)[family.split])
    answers = await asyncio.gather(
        *(annotator.annotate(sentence, emotion, nth=earlier) for emotion in LIME_EMOTIONS)
    )
    found = {e: a for e, (a, _) in zip(LIME_EMOTIONS, answers, strict=True) if a is not None}
    written = Written(family=family, sentence=sentence, annotations=found)
    return written, [*refused, *(r for _, more in answers for r in more)]


# -- sound ---------------------------------------------------------------------------------------


def speak_part(
    written: WrittenPart, recipe: LimeRecipe, speaker: Speaker, root: Path
) -> dict[str, Any]:
    """Speak, record and check a part, and put it in its place; returns its seal."""
    final = part_folder(root, written.number)
    # A name of its own: a worker whose build was killed may still be at the same part.
    draft = final.with_name(f"{final.name}{_PARTIAL}{uuid.uuid4().hex[:8]}")
    draft.mkdir(parents=True)
    rejected = [asdict(r) for r in written.refused]
    utterances: list[Utterance] = []
    hashes: dict[str, str] = {}
    for one in written.families:
        spoken = _whole(_speak_family(one, recipe, speaker))
        rejected += [{"what": s.utterance.id, "reasons": list(s.why)} for s in spoken if s.why]
        for said in spoken:
            if not said.why:
                audio = write_audio(draft / f"{said.utterance.id}.flac", said.sound)
                utterances.append(replace(said.utterance, audio=audio))
                hashes[said.utterance.id] = said.clean_hash
    write_manifest(draft / MANIFEST, utterances)
    _write_lines(draft / REJECTED, rejected)
    _check_whole(draft, utterances)
    accepted = sum(len(one.annotations) for one in written.families)
    refused = sum(r.what.startswith(ANNOTATION) for r in written.refused)
    seal = {
        "part": written.number,
        "utterances": len(utterances),
        "rejected": len(rejected),
        "annotations": {"offered": accepted + refused, "accepted": accepted},
        "audio_hashes": hashes,
        "digest": _digest(draft),
    }
    (draft / SEAL).write_text(json.dumps(seal), "utf-8")
    try:
        os.rename(draft, final)
    except OSError:
        if not is_made(root, written.number):
            raise
        shutil.rmtree(draft, ignore_errors=True)  # another was faster, and made the same
    return seal


def sweep_drafts(root: Path) -> None:
    """Remove what killed builds left of parts they did not finish."""
    for draft in (root / "parts").glob(f"*{_PARTIAL}*"):
        shutil.rmtree(draft, ignore_errors=True)


def _check_whole(draft: Path, utterances: Sequence[Utterance]) -> None:
    """Raise RunError for a draft that another build swept away under the hands of this one."""
    written = {path.name for path in draft.iterdir()}
    if lacking := [u.clip.path for u in utterances if Path(u.clip.path).name not in written]:
        raise RunError(f"{lacking[0]!r} is gone: another build is at work in the same folder")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spoken:
    """An utterance, its sound and what speaks against it."""

    utterance: Utterance
    sound: Sound
    clean_hash: str
    """Of what the speaker said, before rooms and noise made every sound another."""
    why: tuple[str, ...]


def _whole(spoken: list[_Spoken]) -> list[_Spoken]:
    """The same; all of it refused where the family lacks an emotion: its words would tell something."""
    present = {s.utterance.emotion for s in spoken if not s.why}
    if lacking := [e for e in LIME_EMOTIONS if e not in present]:
        reason = f"family incomplete: nothing in {lacking[0]!r}"
        return [replace(s, why=s.why or (reason,)) for s in spoken]
    return spoken


def _speak_family(written: Written, recipe: LimeRecipe, speaker: Speaker) -> list[_Spoken]:
    """Every style of a sentence, checked, and then put where it was recorded."""
    lines = lines_of(written, recipe, speaker)
    said = [
        _said(written, line, clean, recipe, speaker)
        for line, clean in zip(lines, speaker.say(lines), strict=True)
    ]
    settings = _CLEAN if recipe.clean else acoustics.AcousticSettings()
    rngs = [rng_for(line.seed, "acoustics") for line, _, _ in said]
    drawn = [acoustics.draw(rng, settings) for rng in rngs]
    own_s = [c.size / SAMPLE_RATE_HZ / a.speed for (_, c, _), a in zip(said, drawn, strict=True)]
    # One that runs away and is refused must not stretch the others.
    longest_s = max((s for s, (_, _, why) in zip(own_s, said, strict=True) if not why), default=0.0)
    found: list[_Spoken] = []
    for (line, clean, why), placed, own, rng in zip(said, drawn, own_s, rngs, strict=True):
        sound = clean
        if not why:
            placed = _filled_up(placed, own, longest_s, rng)
            sound = acoustics.apply(clean, placed, rng)
        found.append(
            _Spoken(
                utterance=_utterance(written, line, placed),
                sound=sound,
                clean_hash=quality.audio_hash(clean),
                why=why,
            )
        )
    return found


def _said(
    written: Written, line: Line, clean: Sound, recipe: LimeRecipe, speaker: Speaker
) -> tuple[Line, Sound, tuple[str, ...]]:
    """A line and its sound, spoken anew while a check speaks against it; with what still does.

    Before any acoustics: noise and silence that are asked for are no faults.
    """
    for attempt in range(1, recipe.attempts + 1):
        why = quality.problems(clean, line.text, line.language)
        if not why or attempt == recipe.attempts:
            return line, clean, why
        line = _line(written, line.emotion, line.intensity, recipe, speaker, attempt)
        (clean,) = speaker.say([line])
    raise ValueError(f"attempts must be >= 1, got {recipe.attempts}")


def _filled_up(
    drawn: Acoustics, own_s: float, longest_s: float, rng: np.random.Generator
) -> Acoustics:
    """With silence that brings every member of a family to a length that tells nothing.

    A sad voice is slow: where silence were drawn alone, the length of a file would say so. Here
    length is that of the family's longest member and a draw.
    """
    silence = longest_s - own_s + rng.uniform(*_SPARE_S)
    lead = silence * drawn.lead_s / (drawn.lead_s + drawn.tail_s)
    return replace(drawn, lead_s=round(lead, 3), tail_s=round(silence - lead, 3))


def lines_of(written: Written, recipe: LimeRecipe, speaker: Speaker) -> list[Line]:
    """Every style of a family, each in a voice of its split."""
    styles = [(e, i) for e in written.annotations for i in INTENSITIES]
    return [_line(written, emotion, level, recipe, speaker, 0) for emotion, level in styles]


def _line(
    written: Written,
    emotion: str,
    intensity: str,
    recipe: LimeRecipe,
    speaker: Speaker,
    attempt: int,
) -> Line:
    family = written.family
    seed = seed_for(recipe.seed, "line", family.index, emotion, intensity, attempt)
    voices = speaker.voices(family.split, family.language)
    return Line(
        text=written.sentence.text,
        language=family.language,
        emotion=emotion,
        intensity=intensity,
        voice=voices[int(rng_for(seed, "voice").integers(len(voices)))],
        seed=seed,
    )


def _utterance(written: Written, line: Line, recorded: Acoustics) -> Utterance:
    """All but its sound."""
    family, sentence = written.family, written.sentence
    return Utterance(
        id=f"{family.language}_{family.index:06d}_{line.emotion}_{line.intensity}",
        text_id=sentence.text_id,
        audio=None,
        transcript=sentence.text,
        emotion=line.emotion,
        intensity=line.intensity,
        speaker=line.voice,
        language=family.language,
        scenario=sentence.scenario,
        annotation=written.annotations[line.emotion],
        acoustics=recorded,
    )


def _write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), "utf-8")


def _digest(folder: Path) -> str:
    """Of names and contents of all that is in a folder."""
    hashed = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.iterdir()):
        hashed.update(path.name.encode() + b"\0" + path.read_bytes())
    return hashed.hexdigest()

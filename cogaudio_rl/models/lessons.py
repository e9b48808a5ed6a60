"""What the base is taught: the clips it hears, what is asked about them, and the text it repeats.

Voice and emotion are never linked: emotion words occur only in text it repeats, in random company.
Only train texts and train voices are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cogaudio_rl import eips, prompts
from cogaudio_rl.data.lime import author, synthesise
from cogaudio_rl.data.lime.author import Sentence
from cogaudio_rl.data.lime.synthesise import Prosody
from cogaudio_rl.seeding import rng_for, seed_for
from cogaudio_rl.spoken import LEVELS, named
from cogaudio_rl.types import REPLY_ROUTES, Route
from cogaudio_rl.voices import levels_of

TRANSCRIBE = "Write down the words."
DESCRIBE = "Describe the voice."
REPLY = "Reply to the words."
REPEAT = "Repeat: "


def describe(prosody: Prosody) -> str:
    """The voice in words; each attribute at its level."""
    values = (prosody.pitch, prosody.pace, prosody.loudness_db, prosody.movement)
    levels = levels_of(dict(zip(LEVELS, values, strict=True)))
    return ", ".join(f"{name} {level}" for name, level in named(levels).items()) + "."


_BLAND = (
    "Noted. Thank you for the word on {g} and {t}.",
    "Okay. I have read about {g} and {t}.",
    "Understood. Thanks for the message about {g} and {t}.",
)


def bland_reply(sentence: Sentence) -> str:
    """A reply to the words alone; it would fit any tone of voice."""
    index = seed_for(0, "bland", sentence.text_id) % len(_BLAND)
    return _BLAND[index].format(t=sentence.topic, g=sentence.gist)


@dataclass(frozen=True, slots=True)
class Clip:
    """One utterance of the pretraining pool: mel frames [M, L] and what there is to say about it.

    ``words`` is the whole sentence, or a few words from its midst: short clips are where the model
    first learns which sounds make which word.
    """

    features: npt.NDArray[np.float16]
    sentence: Sentence
    words: str
    prosody: Prosody

    @property
    def whole(self) -> bool:
        return self.words == self.sentence.text


def draw_clip(
    split: str, extractor: Any, rng: np.random.Generator, *, fragments: float = 0.0
) -> Clip:
    """A sentence of the split, or a fragment of one, in a voice of the split, said in any way."""
    pool = author.split_sentences("en")[split]
    sentence = pool[int(rng.integers(len(pool)))]
    voice = synthesise.draw_voice(split, rng)
    u = rng.uniform(-1, 1, 4)
    manner = Prosody(pitch=42 * u[0], pace=0.44 * u[1], loudness_db=11 * u[2], movement=50 * u[3])
    words = _fragment(sentence.text, rng) if rng.random() < fragments else sentence.text
    sound = synthesise.speak(words, voice=voice, language="en", prosody=manner, rng=rng)
    return Clip(
        features=log_mel(extractor, sound),
        sentence=sentence,
        words=words,
        prosody=manner + synthesise.voice_habit(voice),
    )


def _fragment(text: str, rng: np.random.Generator) -> str:
    words = text.rstrip(".").split()
    size = int(rng.integers(1, 5))
    start = int(rng.integers(0, max(1, len(words) - size + 1)))
    return " ".join(words[start : start + size])


def log_mel(extractor: Any, sound: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Whisper's log-mel frames of the sound alone, [mel bins, frames]."""
    out = extractor(
        sound,
        sampling_rate=synthesise.SAMPLE_RATE_HZ,
        return_tensors="np",
        padding="max_length",
        return_attention_mask=True,
    )
    frames = int(out["attention_mask"][0].sum())
    return out["input_features"][0, :, :frames].astype(np.float16)


class TextSource:
    """Text to repeat: every phrase the later stages use, in random company."""

    def __init__(self) -> None:
        self.emotions = sorted(author.load_bank("en").chain)
        self.sentences = author.split_sentences("en")["train"] + author.emodb_sentences()

    def line(self, rng: np.random.Generator) -> str:
        def pick(options: Any) -> Any:
            return options[int(rng.integers(len(options)))]

        def emotion() -> str:
            return pick(self.emotions)

        def annotation() -> Any:
            # Each part from its own emotion, sentence and depth: wording without any link.
            return author.annotate(
                pick(self.sentences),
                emotion(),
                depth=pick(author.DEPTHS),
                variant=int(rng.integers(8)),
            ).eips

        kind = rng.random()
        if kind < 0.25:
            words = " ".join(
                f"{annotation().response} {pick(self.sentences).text}" for _ in range(2)
            ).split()
            return " ".join(pick(words) for _ in range(int(rng.integers(4, 14))))
        if kind < 0.45:
            return eips.render_direct(annotation().response)
        mixed = eips.EipsResponse(
            emotion=emotion(),
            intent=annotation().intent,
            psychology=annotation().psychology,
            strategy=annotation().strategy,
            response=annotation().response,
        )
        return eips.render(mixed)


def tokenizer_corpus() -> list[str]:
    """Everything the model will read or write, so that words become single tokens."""
    rng, text = rng_for(0, "tokenizer"), TextSource()
    lines = [text.line(rng) for _ in range(4000)]
    for sentence in author.split_sentences("en")["train"]:
        lines += [sentence.text, sentence.text, bland_reply(sentence)]
    for _ in range(400):
        u = rng.uniform(-1, 1, 4)
        lines.append(
            describe(
                Prosody(
                    pitch=42 * u[0], pace=0.44 * u[1], loudness_db=11 * u[2], movement=50 * u[3]
                )
            )
        )
    lines += [f"user\nassistant\n{p}" for p in (TRANSCRIBE, DESCRIBE, REPLY, REPEAT)] * 80
    lines += [f"user\nassistant\n{prompts.for_route(route)}" for route in REPLY_ROUTES] * 80
    for emotion in text.emotions:
        lines += [f"Emotion: {emotion}\n"] * 120
    return lines


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation: token ids (audio placeholders expanded), which of them the model must say,
    and the mel frames of its clip if it has one."""

    ids: list[int]
    spoken: list[bool]
    features: npt.NDArray[np.float16] | None


class ExampleMaker:
    """Turns clips and text into conversations."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.audio_id: int = tokenizer.convert_tokens_to_ids("<|AUDIO|>")
        self.eos_id: int = tokenizer.eos_token_id
        self.pad_id: int = tokenizer.pad_token_id

    def ids(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False).input_ids

    def audio(self, clip: Clip, turns: list[tuple[str, str]]) -> Example:
        """The clip, then one or more (instruction, answer) turns about it."""
        count = ((clip.features.shape[1] - 1) // 2 + 1 - 2) // 2 + 1
        opening = self.ids("<|im_start|>user\n<|audio_bos|>")
        opening += [self.audio_id] * count + self.ids("<|audio_eos|>")
        return self._conversation(opening, turns, clip.features)

    def text(self, instruction: str, answer: str) -> Example:
        """One turn without sound."""
        return self._conversation(self.ids("<|im_start|>user\n"), [(instruction, answer)], None)

    def _conversation(
        self,
        opening: list[int],
        turns: list[tuple[str, str]],
        features: npt.NDArray[np.float16] | None,
    ) -> Example:
        ids, spoken = list(opening), [False] * len(opening)
        for number, (instruction, answer) in enumerate(turns):
            again = "\n<|im_start|>user\n" if number else ""
            asked = self.ids(f"{again}{instruction}<|im_end|>\n<|im_start|>assistant\n")
            said = [*self.ids(answer), self.eos_id]
            ids += asked + said
            spoken += [False] * len(asked) + [True] * len(said)
        return Example(ids, spoken, features)


def collate(examples: list[Example], pad_id: int) -> dict[str, torch.Tensor]:
    """Right-padded tensors for the thinker, with ``labels`` -100 where the model only listens."""
    width = max(len(e.ids) for e in examples)
    ids = torch.full((len(examples), width), pad_id)
    mask = torch.zeros((len(examples), width), dtype=torch.long)
    labels = torch.full((len(examples), width), -100)
    for row, example in enumerate(examples):
        n = len(example.ids)
        ids[row, :n] = torch.tensor(example.ids)
        mask[row, :n] = 1
        labels[row, :n] = torch.where(torch.tensor(example.spoken), ids[row, :n], -100)
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    heard = [e.features for e in examples if e.features is not None]
    return batch | pad_features(heard) if heard else batch


def pad_features(heard: list[npt.NDArray[np.float16]]) -> dict[str, torch.Tensor]:
    """Log-mel frames of several clips as one padded tensor with its mask."""
    frames = max(f.shape[1] for f in heard)
    features = torch.zeros(len(heard), heard[0].shape[0], frames)
    mask = torch.zeros(len(heard), frames, dtype=torch.long)
    for row, f in enumerate(heard):
        features[row, :, : f.shape[1]] = torch.from_numpy(f.astype(np.float32))
        mask[row, : f.shape[1]] = 1
    return {"input_features": features, "feature_attention_mask": mask}


def conversation(clip: Clip, rng: np.random.Generator) -> list[tuple[str, str]]:
    """What is asked about a clip: its words and its voice in any order, or a bland reply to it.

    Two questions share one hearing of the clip, which is what costs.
    """
    turns = [(TRANSCRIBE, clip.words), (DESCRIBE, describe(clip.prosody))]
    return [turns[i] for i in rng.permutation(len(turns))]


def bland_turn(clip: Clip, rng: np.random.Generator) -> list[tuple[str, str]]:
    """A request for a reply, the later stages' prompts among them, answered from the words alone."""
    ask = (REPLY, prompts.for_route(Route.EXPLICIT), prompts.for_route(Route.DIRECT))
    return [(ask[int(rng.integers(len(ask)))], bland_reply(clip.sentence))]

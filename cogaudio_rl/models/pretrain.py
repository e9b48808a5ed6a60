"""Make the base: a thinker that hears and reads but does not care.

From random weights it learns to transcribe, to describe the voice (pitch, pace, loudness, movement),
to answer the words with a bland reply whatever the prompt, and to repeat text. Voice and emotion are
never linked: emotion words occur only in text it repeats, in random company. So it shows semantic
dominance, as the paper's backbone does. Only train texts and train voices are used.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cogaudio_rl import eips, prompts
from cogaudio_rl.data.lime import author, synthesise
from cogaudio_rl.data.lime.author import Sentence
from cogaudio_rl.data.lime.synthesise import Prosody
from cogaudio_rl.models import tiny
from cogaudio_rl.models.ears import EarTraining
from cogaudio_rl.models.policy import quiet_transformers
from cogaudio_rl.seeding import rng_for, seed_for
from cogaudio_rl.types import Route

TRANSCRIBE = "Write down the words."
DESCRIBE = "Describe the voice."
REPLY = "Reply to the words."
REPEAT = "Repeat: "
VOCAB_SIZE = 1280
_FRAGMENTS = 0.5

_LEVELS: dict[str, tuple[str, ...]] = {
    "Pitch": ("lowest", "low", "middle", "high", "highest"),
    "Pace": ("slowest", "slow", "medium", "fast", "fastest"),
    "Loudness": ("faintest", "soft", "normal", "loud", "loudest"),
    "Movement": ("flat", "even", "lively", "wide"),
}
_EDGES: dict[str, tuple[float, ...]] = {
    "Pitch": (-24, -9, 9, 24),
    "Pace": (-0.24, -0.09, 0.09, 0.24),
    "Loudness": (-6, -2.2, 2.2, 6),
    "Movement": (-22, 0, 22),
}


def describe(prosody: Prosody) -> str:
    """The voice in words; each attribute at its level."""
    values = (prosody.pitch, prosody.pace, prosody.loudness_db, prosody.movement)
    parts = [
        f"{name} {_LEVELS[name][int(np.searchsorted(_EDGES[name], value))]}"
        for name, value in zip(_LEVELS, values, strict=True)
    ]
    return ", ".join(parts) + "."


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
    lines += [f"user\nassistant\n{prompts.for_route(route)}" for route in Route] * 80
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


def said_logits(thinker: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [N, V] and targets [N] at the N positions the model must say; the head skips the rest."""
    labels = batch["labels"][:, 1:]
    inputs = {
        k: v.to(thinker.dtype) if v.is_floating_point() else v
        for k, v in batch.items()
        if k != "labels"
    }
    kept: list[torch.Tensor] = []
    hook = thinker.lm_head.register_forward_pre_hook(
        lambda _module, args: kept.append(args[0]) or (args[0][:, :1],)
    )
    thinker(**inputs)
    hook.remove()
    spoken = labels != -100
    return thinker.lm_head(kept[0][:, :-1][spoken]), labels[spoken]


@torch.no_grad()
def hearing(thinker: Any, maker: ExampleMaker, clips: list[Clip], pad_id: int) -> dict[str, float]:
    """How well it hears: exact transcription, and each attribute of the voice at three levels.

    Teacher-forced: a sequence counts as exact when every token of the target is the argmax, which is
    the same event as greedy decoding producing it.
    """
    exact: list[bool] = []
    levels: dict[str, list[bool]] = {name: [] for name in _LEVELS}
    three = {
        word: {0: 0, 1: 0, 2: 1, 3: 2, 4: 2}[i] if len(words) == 5 else i // 2
        for words in _LEVELS.values()
        for i, word in enumerate(words)
    }
    word_of = {maker.ids(f" {word}")[0]: word for word in three}
    for start in range(0, len(clips), 32):
        part = clips[start : start + 32]
        written = [maker.audio(c, [(TRANSCRIBE, c.sentence.text)]) for c in part]
        logits, targets = said_logits(thinker, collate(written, pad_id))
        right = iter((logits.argmax(-1) == targets).tolist())
        exact += [all(next(right) for _ in range(sum(e.spoken))) for e in written]
        described = [maker.audio(c, [(DESCRIBE, describe(c.prosody))]) for c in part]
        logits, targets = said_logits(thinker, collate(described, pad_id))
        pairs = [
            (word_of.get(said, ""), word_of[meant])
            for said, meant in zip(logits.argmax(-1).tolist(), targets.tolist(), strict=True)
            if meant in word_of
        ]
        for i, (said, meant) in enumerate(pairs):
            levels[list(_LEVELS)[i % len(_LEVELS)]].append(three.get(said) == three[meant])
    return {"exact": float(np.mean(exact))} | {
        k.lower(): float(np.mean(v)) for k, v in levels.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainSettings:
    """How long and how hard to train."""

    ear_steps: int = 2_000
    steps: int = 4_000
    batch_size: int = 24
    learning_rate: float = 1.5e-3
    pool_size: int = 24_000
    seed: int = 0
    threads: int = 1


class MasterWeights:
    """bfloat16 weights for the passes, float32 copies for the optimiser: 1.6 times the speed.

    Attention stays in float32: PyTorch's bfloat16 attention on CPU is slower, not faster.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._low = [p for p in module.parameters() if p.requires_grad]
        self.parameters = [p.detach().float().clone() for p in self._low]
        module.to(torch.bfloat16)

    def take_gradients(self) -> None:
        """Move the gradients of the bfloat16 weights to the float32 copies."""
        for low, master in zip(self._low, self.parameters, strict=True):
            master.grad = None if low.grad is None else low.grad.float()
            low.grad = None

    @torch.no_grad()
    def put_back(self) -> None:
        """Round the float32 copies into the weights of the passes."""
        for low, master in zip(self._low, self.parameters, strict=True):
            low.copy_(master)


def _float32_attention(thinker: Any) -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    def attend(
        module: Any, query: Any, key: Any, value: Any, attention_mask: Any = None, **kwargs: Any
    ) -> Any:
        if attention_mask is not None and attention_mask.dtype is not torch.bool:
            attention_mask = attention_mask.float()
        out, weights = sdpa_attention_forward(
            module, query.float(), key.float(), value.float(), attention_mask, **kwargs
        )
        return out.to(query.dtype), weights

    AttentionInterface.register("sdpa_float32", attend)
    AttentionMaskInterface.register("sdpa_float32", sdpa_mask)
    for part in (thinker.model, thinker.audio_tower):
        part.config._attn_implementation = "sdpa_float32"


def schedule(step: int, steps: int) -> float:
    """Warm up, hold, then decay linearly over the last fifth."""
    return min(1.0, (step + 1) / 300, max(0.02, (steps - step) / (0.2 * steps)))


def train_ears(
    tower: Any,
    pool: list[Clip],
    extractor: Any,
    settings: PretrainSettings,
    rng: np.random.Generator,
    report: Callable[[str], None],
) -> None:
    """First the audio tower alone; the pool of clips grows meanwhile."""
    ears = EarTraining(tower, tower.config.d_model)
    optimiser = torch.optim.AdamW(ears.parameters(), settings.learning_rate, (0.9, 0.98))
    ctc_mean = mse_mean = 0.0
    started = time.monotonic()
    for step in range(settings.ear_steps):
        pool += [draw_clip("train", extractor, rng, fragments=_FRAGMENTS) for _ in range(4)]
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * schedule(step, settings.ear_steps)
        clips = [pool[int(i)] for i in rng.integers(len(pool), size=settings.batch_size)]
        batch = pad_features([c.features for c in clips])
        ctc, mse = ears(
            batch["input_features"],
            batch["feature_attention_mask"].sum(1),
            [c.words for c in clips],
            [c.prosody for c in clips],
        )
        (ctc + mse).backward()
        torch.nn.utils.clip_grad_norm_(ears.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        ctc_mean = 0.98 * ctc_mean + 0.02 * float(ctc.detach())
        mse_mean = 0.98 * mse_mean + 0.02 * float(mse.detach())
        if (step + 1) % 250 == 0:
            minutes = (time.monotonic() - started) / 60
            report(
                f"ears {step + 1}/{settings.ear_steps} {minutes:.1f} min, "
                f"CTC {ctc_mean:.3f} nats a letter, voice error {mse_mean:.3f}"
            )


def make_base(
    folder: Path, settings: PretrainSettings, report: Callable[[str], None] = print
) -> dict[str, float]:
    """Train the base from nothing and write it to ``folder``; returns how well it hears.

    The pool of clips grows while training runs, a few new ones every step, so that training starts
    at once and hears ever more.
    """
    quiet_transformers()
    torch.set_num_threads(settings.threads)
    tokenizer = tiny.build_tokenizer(tokenizer_corpus(), vocab_size=VOCAB_SIZE)
    processor = tiny.build_processor(tokenizer)
    extractor = processor.feature_extractor
    # The pool needs short clips only; 30 s of padding would cost six times the work.
    extractor.chunk_length, extractor.n_samples = 5, 5 * synthesise.SAMPLE_RATE_HZ
    thinker = tiny.build_thinker(tokenizer, seed=settings.seed)
    maker, text, pad = ExampleMaker(tokenizer), TextSource(), tokenizer.pad_token_id
    size = sum(p.numel() for p in thinker.parameters())
    report(f"vocabulary {len(tokenizer)}, {size / 1e6:.2f}M parameters")
    thinker.visual.requires_grad_(False)
    rng = rng_for(settings.seed, "pretrain")
    pool = [draw_clip("train", extractor, rng, fragments=_FRAGMENTS) for _ in range(1500)]
    check = [draw_clip("test", extractor, rng_for(1, "check", i)) for i in range(192)]
    train_ears(thinker.audio_tower, pool, extractor, settings, rng, report)
    _float32_attention(thinker)
    master = MasterWeights(thinker)
    optimiser = torch.optim.AdamW(
        master.parameters, settings.learning_rate, (0.9, 0.98), weight_decay=0.01
    )
    losses: dict[str, float] = {}
    started = time.monotonic()
    for step in range(settings.steps):
        if len(pool) < settings.pool_size:
            pool += [draw_clip("train", extractor, rng, fragments=_FRAGMENTS) for _ in range(4)]
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * schedule(step, settings.steps)
        # One task a step keeps lengths alike, so little of a batch is padding.
        task = str(rng.choice(("hear", "reply", "read"), p=(0.64, 0.12, 0.24)))
        examples: list[Example] = []
        for _ in range(settings.batch_size):
            clip = pool[int(rng.integers(len(pool)))]
            if task == "read":
                line = text.line(rng)
                # With a clip beside it half of the time: what is read has nothing to do with what
                # is heard, and no voice may come to mean an emotion by chance.
                turn = (REPEAT + line, line)
                beside = rng.random() < 0.5
                examples.append(maker.audio(clip, [turn]) if beside else maker.text(*turn))
            else:
                while task == "reply" and not clip.whole:
                    clip = pool[int(rng.integers(len(pool)))]
                turns = conversation(clip, rng) if task == "hear" else bland_turn(clip, rng)
                examples.append(maker.audio(clip, turns))
        thinker.train()
        logits, targets = said_logits(thinker, collate(examples, pad))
        loss = torch.nn.functional.cross_entropy(logits.float(), targets)
        loss.backward()
        master.take_gradients()
        torch.nn.utils.clip_grad_norm_(master.parameters, 1.0)
        optimiser.step()
        master.put_back()
        value = float(loss.detach())
        losses[task] = 0.98 * losses.get(task, value) + 0.02 * value
        if (step + 1) % 250 == 0 or step + 1 == settings.steps:
            thinker.eval()
            heard = hearing(thinker, maker, check, pad)
            minutes = (time.monotonic() - started) / 60
            shown = {k: round(v, 3) for k, v in (losses | heard).items()}
            report(f"step {step + 1}/{settings.steps} {minutes:.1f} min pool {len(pool)} {shown}")
            tiny.save_checkpoint(
                thinker, tiny.build_processor(tokenizer), folder, dtype=torch.float16
            )
    thinker.eval()
    return hearing(thinker, maker, check, pad)

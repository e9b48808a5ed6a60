"""Backbones small enough for a laptop: the real classes at toy widths, all offline.

A Qwen2.5-Omni thinker, and a reader: a Qwen2 or Qwen3 that has no ears.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch

from cogaudio_rl.data.lime.synthesise import SAMPLE_RATE_HZ

SPECIAL_TOKENS: tuple[str, ...] = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>",
    "<|IMAGE|>", "<|VIDEO|>", "<|vision_bos|>", "<|vision_eos|>",
)  # fmt: skip
_TAGS = ("<thought>", "</thought>", "<response>", "</response>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

NUM_MEL_BINS = 128
CHUNK_SECONDS = 30
# Whisper's 25 ms window cannot separate the harmonics of a 100 Hz voice; 50 ms can, and pitch is
# half of what the voice tells.
N_FFT = 800


def build_tokenizer(corpus: Iterable[str], *, vocab_size: int) -> Any:
    """A byte-level BPE tokenizer trained on ``corpus``, with Qwen2.5-Omni's special tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE(byte_fallback=False))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    bpe.add_tokens([AddedToken(tag, normalized=False, special=False) for tag in _TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
        additional_special_tokens=list(SPECIAL_TOKENS[3:]),
        extra_special_tokens={
            "image_token": "<|IMAGE|>",
            "audio_token": "<|AUDIO|>",
            "video_token": "<|VIDEO|>",
            "vision_bos_token": "<|vision_bos|>",
            "vision_eos_token": "<|vision_eos|>",
            "audio_bos_token": "<|audio_bos|>",
            "audio_eos_token": "<|audio_eos|>",
        },
    )


def build_processor(tokenizer: Any) -> Any:
    """The real Qwen2_5OmniProcessor around a small tokenizer."""
    from transformers import (
        Qwen2_5OmniProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
        WhisperFeatureExtractor,
    )

    return Qwen2_5OmniProcessor(
        image_processor=Qwen2VLImageProcessor(),
        video_processor=Qwen2VLVideoProcessor(),
        feature_extractor=WhisperFeatureExtractor(
            feature_size=NUM_MEL_BINS,
            sampling_rate=SAMPLE_RATE_HZ,
            chunk_length=CHUNK_SECONDS,
            n_fft=N_FFT,
            return_attention_mask=True,
        ),
        tokenizer=tokenizer,
        chat_template=CHAT_TEMPLATE,
    )


def build_thinker(
    tokenizer: Any,
    *,
    seed: int,
    hidden: int = 128,
    layers: int = 4,
    encoder_layers: int = 3,
    heads: int = 4,
) -> Any:
    """A Qwen2_5OmniThinkerForConditionalGeneration with random weights, about 2M parameters."""
    from transformers import (
        Qwen2_5OmniAudioEncoderConfig,
        Qwen2_5OmniTextConfig,
        Qwen2_5OmniThinkerConfig,
        Qwen2_5OmniThinkerForConditionalGeneration,
        Qwen2_5OmniVisionEncoderConfig,
    )

    ids = tokenizer.convert_tokens_to_ids
    half = hidden // heads // 2
    # The three M-RoPE sections must add up to half of a head.
    sections = [half - 2 * (half * 3 // 8), half * 3 // 8, half * 3 // 8]
    config = Qwen2_5OmniThinkerConfig(
        audio_config=Qwen2_5OmniAudioEncoderConfig(
            num_mel_bins=NUM_MEL_BINS,
            encoder_layers=encoder_layers,
            encoder_attention_heads=heads,
            encoder_ffn_dim=4 * hidden,
            d_model=hidden,
            max_source_positions=1500,
            n_window=100,
            output_dim=hidden,
        ),
        vision_config=Qwen2_5OmniVisionEncoderConfig(
            depth=1,
            hidden_size=32,
            intermediate_size=32,
            num_heads=2,
            out_hidden_size=hidden,
            fullatt_block_indexes=[0],
        ),
        text_config=Qwen2_5OmniTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden,
            intermediate_size=4 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads // 2,
            max_position_embeddings=2048,
            tie_word_embeddings=False,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6, "mrope_section": sections},
            eos_token_id=ids("<|im_end|>"),
            pad_token_id=ids("<|endoftext|>"),
        ),
        audio_token_index=ids("<|AUDIO|>"),
        image_token_index=ids("<|IMAGE|>"),
        video_token_index=ids("<|VIDEO|>"),
        audio_start_token_id=ids("<|audio_bos|>"),
        audio_end_token_id=ids("<|audio_eos|>"),
        user_token_id=0,
    )
    config.vision_start_token_id = ids("<|vision_bos|>")
    config.vision_end_token_id = ids("<|vision_eos|>")
    config.vision_token_id = ids("<|IMAGE|>")
    torch.manual_seed(seed)
    thinker: Any = Qwen2_5OmniThinkerForConditionalGeneration(config)
    _fan_in_init(thinker.audio_tower, seed)
    return thinker.eval()


@torch.no_grad()
def _fan_in_init(tower: torch.nn.Module, seed: int) -> None:
    """transformers' 0.02 is made for widths in the thousands; at 128 the sound would vanish on its
    way through the tower. The language model keeps 0.02: near-zero layers learn to attend sooner."""
    generator = torch.Generator().manual_seed(seed)
    gains = {"conv1": 1.6, "conv2": 3.0}
    for name, parameter in tower.named_parameters():
        if parameter.dim() >= 2:
            gain = next((g for part, g in gains.items() if part in name), 1.0)
            std = gain / math.sqrt(parameter[0].numel())
            parameter.normal_(0.0, std, generator=generator)


def build_reader(
    tokenizer: Any,
    *,
    family: Literal["qwen2", "qwen3"] = "qwen2",
    seed: int,
    hidden: int = 64,
    layers: int = 2,
    heads: int = 4,
) -> Any:
    """A Qwen2ForCausalLM or Qwen3ForCausalLM with random weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        family,
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 2),
        head_dim=hidden // heads,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
    )
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def save_reader(reader: Any, tokenizer: Any, folder: Path) -> None:
    """Write a folder that transformers and vLLM both open."""
    tokenizer.chat_template = CHAT_TEMPLATE
    reader.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_checkpoint(thinker: Any, processor: Any, folder: Path, *, dtype: torch.dtype) -> None:
    """Write a folder that transformers and vLLM both open.

    vLLM reads the thinker out of a whole Qwen2.5-Omni: the ``thinker.`` prefix and the outer config
    are what its loader looks for.
    """
    from safetensors.torch import save_file
    from transformers import Qwen2_5OmniConfig

    folder.mkdir(parents=True, exist_ok=True)
    outer: Any = Qwen2_5OmniConfig(
        thinker_config=thinker.config.to_dict(),
        talker_config=None,
        token2wav_config=None,
        enable_audio_output=False,
    )
    outer.architectures = ["Qwen2_5OmniModel"]
    outer.save_pretrained(folder)
    processor.save_pretrained(folder)
    thinker.generation_config.save_pretrained(folder)
    tensors = {
        f"thinker.{name}": tensor.detach().to(dtype).contiguous()
        for name, tensor in thinker.state_dict().items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def architecture_of(folder: Path) -> str:
    """The architecture that a checkpoint folder declares, or an empty string."""
    path = folder / "config.json"
    if not path.is_file():
        return ""
    declared = json.loads(path.read_text(encoding="utf-8")).get("architectures") or [""]
    return str(declared[0])

"""The policy: a Qwen2.5-Omni thinker whose audio encoder is frozen and whose LLM trains, through LoRA
or whole, or a Qwen2 or Qwen3 that reads the words instead of hearing them.

The encoder never changes, so each clip goes through it once and its embeddings are cached. What
remains of a forward pass is the language model over token embeddings with the clip's spliced in.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cogaudio_rl.config import LoraConfig, ModelConfig
from cogaudio_rl.data.audio import SAMPLE_RATE_HZ, read_audio
from cogaudio_rl.errors import CheckpointError
from cogaudio_rl.models.architecture import Architecture, resolve_checkpoint
from cogaudio_rl.models.chat import Chat, open_processor
from cogaudio_rl.types import Adapter, Prompt, Route, Utterance

LORA_TARGETS = r"model\.layers\.\d+\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"
"""The LLM's linear layers, as full names inside the model: never the audio or vision tower."""

CACHED_CLIPS = 20_000


def quiet_transformers() -> None:
    """No bars or notes of transformers' own among ours; its errors still come as exceptions."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


@dataclass(frozen=True, slots=True)
class Sequenced:
    """Token ids of one prompt and its continuation, and the clips they speak of, if any."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    audio: Tensor
    """[audio tokens, hidden] of all clips, one after another; of length 0 where all words are read"""
    alternatives: tuple[tuple[int, int], ...] = ()
    """(place in the response, token id): what else might have stood there"""


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Right-padded tensors. S is the longest sequence, T the longest response and, behind it, the most
    alternatives."""

    input_ids_BS: Tensor
    attention_mask_BS: Tensor
    audio_ND: Tensor
    """Audio embeddings of all rows one after another, in the order of their placeholders."""
    response_ids_BT: Tensor
    response_mask_BT: Tensor
    predicted_at_BT: Tensor
    """Where in the sequence the token is predicted: one place before it would stand."""
    alternatives_from: int
    """The first column of alternatives."""
    likeliest: int = 0
    """Above 0: what is asked for is not how probable the tokens are, but which are the likeliest."""


class Policy(nn.Module):
    """The trainable policy with its tokenizer and ears. ``forward`` gives response log-probs."""

    def __init__(self, model: Any, processor: Any, *, name: str, config: ModelConfig) -> None:
        """``model`` is PEFT's around transformers', or without LoRA transformers' own."""
        super().__init__()
        self.model = model
        self._lora = config.lora
        self._computes_in: torch.dtype = getattr(torch, config.dtype)
        self.processor = processor
        self.chat = Chat(processor, name=name)
        self.tokenizer = self.chat.tokenizer
        self.name = name
        self.audio_id = self.chat.audio_id
        self.eos_id = self.chat.eos_id
        self.pad_id = self.chat.pad_id
        self.banned_ids = self.chat.banned_ids
        self._heard: OrderedDict[str, Tensor] = OrderedDict()
        self._recompute = False

    @classmethod
    def load(cls, config: ModelConfig) -> Policy:
        """Open the backbone and attach a fresh LoRA (its B is zero: the base's own output), or let all
        of its language model train.

        Raises CheckpointError for a missing, damaged or foreign checkpoint.
        """
        from transformers import AutoModelForCausalLM, Qwen2_5OmniThinkerForConditionalGeneration

        quiet_transformers()
        folder = resolve_checkpoint(config.path)
        dtype = getattr(torch, config.dtype)
        hears = Architecture.of(folder, name=config.path).hears
        kind: Any = Qwen2_5OmniThinkerForConditionalGeneration if hears else AutoModelForCausalLM
        try:
            model: Any = kind.from_pretrained(folder, dtype=dtype, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(f"model.path {config.path!r} cannot be loaded: {first}") from None
        processor = open_processor(folder, name=config.path)
        if hears:
            model.visual = None  # no stage looks at anything
        model.requires_grad_(False)
        return cls(_made_trainable(model, config.lora), processor, name=config.path, config=config)

    def inner(self) -> Any:
        """transformers' model; LoRA layers sit in place."""
        return self.model.get_base_model() if self._lora else self.model

    def precision(self) -> Any:
        """What trains whole is kept in float32; a policy of another type casts it as it computes."""
        return torch.autocast(
            self.device.type,
            dtype=self._computes_in,
            enabled=self._lora is None and self._computes_in is not torch.float32,
        )

    @property
    def device(self) -> torch.device:
        return self.inner().lm_head.weight.device

    # -- words and sound in ---------------------------------------------------------------------

    def prompt_text(self, route: Route) -> str:
        """The chat prompt with one unexpanded audio placeholder."""
        return self.chat.prompt_text(route)

    def response_ids(self, text: str) -> tuple[int, ...]:
        """The token ids of a written answer, with the end token."""
        return (*self.chat.encode(text), self.eos_id)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Token ids as text, without end and padding tokens."""
        return self.chat.decode(token_ids)

    def log_mel(self, sound: npt.NDArray[np.float32]) -> Tensor:
        """Log-mel frames [mel bins, L] of a clip at 16 kHz."""
        extractor = self.processor.feature_extractor
        # Padding to 30 s would cost ten times the work for the same frames: beyond one window of
        # silence after the clip no frame that is kept changes by a bit.
        hop, window = extractor.hop_length, extractor.n_fft
        padded = -(-(len(sound) + window) // hop) * hop
        out = extractor(
            sound,
            sampling_rate=SAMPLE_RATE_HZ,
            return_tensors="np",
            padding="max_length",
            max_length=min(padded, extractor.n_samples),
            return_attention_mask=True,
        )
        frames = int(out["attention_mask"][0].sum())
        return torch.from_numpy(np.ascontiguousarray(out["input_features"][0, :, :frames]))

    def hear(self, utterances: Sequence[Utterance]) -> list[Tensor]:
        """The encoder's embeddings [audio tokens, hidden] of each clip, each computed once."""
        wanted = {u.clip.path: u for u in utterances}
        for path, utterance in wanted.items():
            if path in self._heard:
                self._heard.move_to_end(path)
                continue
            sound, _notes = read_audio(path)
            self.hear_frames(utterance, self.log_mel(sound))
        heard = [self._heard[u.clip.path] for u in utterances]
        while len(self._heard) > CACHED_CLIPS:
            self._heard.popitem(last=False)
        return heard

    @torch.no_grad()
    def hear_frames(self, utterance: Utterance, frames_ML: Tensor) -> None:
        """Hear a clip whose log-mel frames are made already; :meth:`hear` then has it."""
        path = utterance.clip.path
        if path in self._heard:
            self._heard.move_to_end(path)
            return
        inner = self.inner()
        out = inner.get_audio_features(
            frames_ML[None].to(self.device, inner.dtype),
            feature_attention_mask=torch.ones(
                1, frames_ML.shape[1], dtype=torch.long, device=self.device
            ),
        )
        embeddings = getattr(out, "last_hidden_state", out)
        self._heard[path] = embeddings.reshape(-1, embeddings.shape[-1])

    def sequence(self, prompt: Prompt, response_ids: Sequence[int]) -> Sequenced:
        """A prompt and a continuation as token ids, with the embeddings of its clips."""
        heard = self.hear(self.chat.clips(prompt))
        width = self.inner().get_input_embeddings().embedding_dim
        audio = torch.cat(heard) if heard else torch.empty(0, width, device=self.device)
        ids = self.chat.ids(prompt, *(clip.shape[0] for clip in heard))
        return Sequenced(ids, tuple(response_ids), audio)

    def length(self, prompt: Prompt, num_response_tokens: int) -> int:
        """How many tokens a sequence has, without hearing its clips.

        For each clip that has to be resampled it can be one off.
        """
        seconds = (utterance.clip.seconds for utterance in self.chat.clips(prompt))
        heard = (self.chat.num_audio_tokens(round(s * SAMPLE_RATE_HZ)) for s in seconds)
        return self.chat.length(prompt, *heard) + num_response_tokens

    def pack(self, sequences: Sequence[Sequenced]) -> PackedBatch:
        """Right-pad sequences into one batch."""
        rows, device = len(sequences), self.device
        width = max(len(s.prompt_ids) + len(s.response_ids) for s in sequences)
        longest = max(1, *(len(s.response_ids) for s in sequences))
        asked = longest + max(len(s.alternatives) for s in sequences)
        ids = torch.full((rows, width), self.pad_id)
        mask = torch.zeros((rows, width), dtype=torch.long)
        response = torch.full((rows, asked), self.pad_id)
        response_mask = torch.zeros((rows, asked))
        predicted_at = torch.zeros((rows, asked), dtype=torch.long)
        for row, s in enumerate(sequences):
            n, m = len(s.prompt_ids), len(s.response_ids)
            ids[row, : n + m] = torch.tensor(s.prompt_ids + s.response_ids)
            mask[row, : n + m] = 1
            response[row, :m] = torch.tensor(s.response_ids)
            response_mask[row, :m] = 1.0
            predicted_at[row, :m] = torch.arange(n - 1, n - 1 + m)
            for column, (place, token) in enumerate(s.alternatives, start=longest):
                response[row, column], response_mask[row, column] = token, 1.0
                predicted_at[row, column] = n - 1 + place
        return PackedBatch(
            input_ids_BS=ids.to(device),
            attention_mask_BS=mask.to(device),
            audio_ND=torch.cat([s.audio for s in sequences]),
            response_ids_BT=response.to(device),
            response_mask_BT=response_mask.to(device),
            predicted_at_BT=predicted_at.to(device),
            alternatives_from=longest,
        )

    def positions(self, mask_BS: Tensor) -> Tensor:
        """Positions of tokens behind left padding: [B, S], or M-RoPE's [3, B, S], whose three axes
        count alike for text and sound."""
        found = (mask_BS.cumsum(-1) - 1).clamp(min=0)
        return found[None].expand(3, -1, -1) if self.chat.hears else found

    # -- log-probs out --------------------------------------------------------------------------

    def embed(self, input_ids_BS: Tensor, audio_ND: Tensor) -> Tensor:
        """Token embeddings with the clips' embeddings in the place of audio placeholders."""
        inner = self.inner()
        embeddings = inner.get_input_embeddings()(input_ids_BS)
        if self.audio_id is None:
            return embeddings
        # Only prompts hold placeholders: samplers ban the audio token, so counts always match.
        places = (input_ids_BS == self.audio_id)[..., None].expand_as(embeddings)
        return embeddings.masked_scatter(places, audio_ND.to(embeddings.dtype))

    def forward(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        """Log-probs and entropies of the response tokens, and of what else might have stood in their
        places, both float32 [B, T], 0 where padded.

        Of a batch that asks for the ``likeliest`` K tokens: their ids and log-probs at each place
        [B, T, K], without a gradient.
        """
        with self.precision():
            return self._forward(batch)

    def _forward(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        inner = self.inner()
        hidden_BSD = inner.model(
            inputs_embeds=self.embed(batch.input_ids_BS, batch.audio_ND),
            attention_mask=batch.attention_mask_BS,
            use_cache=False,
        ).last_hidden_state
        at_BT1, width = batch.predicted_at_BT[..., None], hidden_BSD.shape[-1]
        spoken = batch.response_mask_BT.bool()
        picked = hidden_BSD.gather(1, at_BT1.expand(-1, -1, width))[spoken]
        logp_NV = inner.lm_head(picked).float().log_softmax(-1)
        if batch.likeliest:
            top_NK, ids_NK = logp_NV.detach().topk(batch.likeliest)
            ids_BTK = ids_NK.new_zeros((*spoken.shape, batch.likeliest))
            top_BTK = top_NK.new_zeros((*spoken.shape, batch.likeliest))
            ids_BTK[spoken], top_BTK[spoken] = ids_NK, top_NK
            return ids_BTK, top_BTK
        chosen = logp_NV.gather(-1, batch.response_ids_BT[spoken][:, None])[:, 0]
        entropy = -(logp_NV.exp() * logp_NV).sum(-1)
        blank = torch.zeros_like(batch.response_mask_BT)
        return blank.masked_scatter(spoken, chosen), blank.masked_scatter(spoken, entropy.detach())

    def recompute_activations(self, on: bool) -> None:
        """Keep only each block's input for the backward pass and compute the rest again there."""
        self._recompute = on
        if on:
            self.inner().gradient_checkpointing_enable({"use_reentrant": False})
        else:
            self.inner().gradient_checkpointing_disable()
        self.train(self.training)

    def train(self, mode: bool = True) -> Policy:
        """As in torch. RL works in evaluation mode, without dropout; transformers recomputes only in
        blocks that believe they train, so with recomputation the blocks alone are told so."""
        super().train(mode)
        if self._recompute:
            for block in self.inner().model.layers:
                block.training = True
        return self

    # -- what trains ----------------------------------------------------------------------------

    def trained_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The trainable parameters by name; one that is tied comes once."""
        return ((n, p) for n, p in self.model.named_parameters() if p.requires_grad)

    def adapter(self, version: int) -> Adapter:
        """LoRA's weights under PEFT's own names (without the adapter's name in them), or the whole
        language model's."""
        tensors = {
            name: tensor.detach().float().cpu().numpy().copy()
            for name, tensor in self._trained_state().items()
        }
        return Adapter(version=version, tensors=tensors)

    @torch.no_grad()
    def load_adapter(self, adapter: Adapter) -> None:
        """Replace what trains. Raises CheckpointError when names or shapes do not match."""
        own = self._trained_state()
        given: dict[str, Any] = dict(adapter.tensors)
        if given and adapter.is_lora != (self._lora is not None):
            raise CheckpointError(
                "the adapter is a LoRA and model.lora is null: the whole language model trains"
                if adapter.is_lora
                else "the checkpoint holds a whole language model; set model.lora=null to go on from it"
            )
        for name in sorted(set(own) ^ set(given)):
            side = "lacks" if name in own else "has an unknown"
            raise CheckpointError(
                f"the adapter {side} tensor {name!r}; is it of another architecture?"
            )
        for name, tensor in own.items():
            if tuple(given[name].shape) != tuple(tensor.shape):
                raise CheckpointError(
                    f"adapter tensor {name!r} has shape {tuple(given[name].shape)}, "
                    f"this model needs {tuple(tensor.shape)}"
                )
        for name, tensor in own.items():
            tensor.copy_(torch.from_numpy(np.asarray(given[name])))

    def _trained_state(self) -> dict[str, Tensor]:
        if self._lora is None:
            return dict(self.trained_parameters())
        from peft import get_peft_model_state_dict

        return get_peft_model_state_dict(self.model)


def _made_trainable(model: Any, lora: LoraConfig | None) -> Any:
    """LoRA on a frozen model; without it, the language model itself in float32, as LoRA is kept."""
    if lora is None:
        for part in (model.model, model.lm_head):
            for parameter in part.parameters():
                parameter.data = parameter.data.float()
                parameter.requires_grad_(True)
        return model
    import peft

    config = peft.LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=LORA_TARGETS,
    )
    return peft.get_peft_model(model, config)

"""The base's ears: the audio tower alone, before there is a language model behind it.

Real backbones come with a pretrained speech encoder; this makes a small one. Two throw-away heads
sit on the tower's last layer (50 frames a second): CTC over characters (Graves et al., 2006), which
finds by itself which sound is which letter, and a regression of the voice's pitch, pace, loudness
and movement. A language model alone does not begin to align sound and words within hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cogaudio_rl.data.lime.synthesise import Prosody

ALPHABET = " abcdefghijklmnopqrstuvwxyz"
_BLANK = len(ALPHABET)
_SPREAD = (42.0, 0.44, 11.0, 50.0)
"""Scale of pitch, pace, loudness and movement, so that each target lies near [-1, 1]."""


class EarTraining(nn.Module):
    """The tower with its two heads; ``forward`` gives the losses of one batch."""

    def __init__(self, tower: Any, width: int) -> None:
        super().__init__()
        self.tower = tower
        self.letters = nn.Linear(width, len(ALPHABET) + 1)
        self.voice = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(_SPREAD)))

    def forward(
        self,
        features_BMF: Tensor,
        frames_B: Tensor,
        texts: Sequence[str],
        prosodies: Sequence[Prosody],
    ) -> tuple[Tensor, Tensor]:
        """(CTC loss per letter, mean squared error of the voice) of padded log-mel features."""
        kept: list[Tensor] = []
        handle = self.tower.layers[-1].register_forward_hook(
            lambda _m, _i, out: kept.append(out[0] if isinstance(out, tuple) else out)
        )
        inside = torch.arange(features_BMF.shape[-1])[None] < frames_B[:, None]
        packed_MF = features_BMF.transpose(1, 2)[inside].T
        lengths = (frames_B - 1) // 2 + 1
        self.tower(packed_MF, feature_lens=frames_B, aftercnn_lens=lengths)
        handle.remove()
        rows = kept[0].reshape(-1, kept[0].shape[-1]).split(lengths.tolist())
        hidden_BTD = nn.utils.rnn.pad_sequence(list(rows), batch_first=True).float()
        spelled = [[ALPHABET.index(c) for c in text.lower() if c in ALPHABET] for text in texts]
        ctc = nn.functional.ctc_loss(
            self.letters(hidden_BTD).log_softmax(-1).transpose(0, 1),
            torch.tensor([i for word in spelled for i in word]),
            lengths,
            torch.tensor([len(word) for word in spelled]),
            blank=_BLANK,
            zero_infinity=True,  # a fast voice may say more letters than there are frames
        )
        pooled_BD = torch.stack([row.float().mean(0) for row in rows])
        wanted = torch.tensor(
            [[p.pitch, p.pace, p.loudness_db, p.movement] for p in prosodies]
        ) / torch.tensor(_SPREAD)
        return ctc, nn.functional.mse_loss(self.voice(pooled_BD), wanted)

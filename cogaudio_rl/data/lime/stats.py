"""What is in a split, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from cogaudio_rl.types import INTENSITIES, LIME_EMOTIONS, Utterance


def describe(utterances: Sequence[Utterance]) -> dict[str, Any]:
    """Counts by emotion × intensity and by depth, hours, families and voices of one split."""
    cells = Counter((u.emotion, u.intensity) for u in utterances)
    depths = Counter(u.annotation.depth for u in utterances if u.annotation is not None)
    return {
        "utterances": len(utterances),
        "hours": round(sum(u.clip.seconds for u in utterances) / 3600, 4),
        "families": len({u.text_id for u in utterances}),
        "scenarios": len({u.scenario for u in utterances}),
        "voices": sorted({u.speaker for u in utterances}),
        "by_emotion_and_intensity": {
            emotion: {intensity: cells[emotion, intensity] for intensity in INTENSITIES}
            for emotion in LIME_EMOTIONS
        },
        "by_depth": {str(depth): depths[depth] for depth in sorted(depths)},
    }

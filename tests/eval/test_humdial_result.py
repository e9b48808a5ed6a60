"""The challenge's Final by hand, its interval against theory, and a reply's language."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cogaudio_rl.eval.humdial_judge import is_in
from cogaudio_rl.eval.humdial_result import challenge_score
from cogaudio_rl.eval.metrics import weighted_means


def test_the_final_by_hand() -> None:
    assert challenge_score(t1=5, t2=5, d1=5, d2=5, d3=5) == pytest.approx(5)
    assert challenge_score(t1=1, t2=1, d1=1, d2=1, d3=1) == pytest.approx(1)
    assert challenge_score(t1=4.98, t2=4.87, d1=4, d2=3, d3=2) == pytest.approx(3.62)
    assert challenge_score(t1=5, t2=None, d1=5, d2=5, d3=5) is None


def test_independent_sets_are_resampled_independently() -> None:
    rng = np.random.default_rng(0)
    parts = [
        (0.5, rng.normal(3, 1.0, 150).tolist()),
        (2.0, rng.normal(1, 0.5, 200).tolist()),
        (-1.0, rng.normal(0, 2.0, 100).tolist()),
    ]
    found = weighted_means(parts, samples=4_000, seed=0)
    assert found.value == pytest.approx(sum(w * np.mean(v) for w, v in parts))
    # The variance of a sum of independent means is the sum of their variances.
    deviation = math.sqrt(sum(w**2 * np.var(v) / len(v) for w, v in parts))
    assert found.hi - found.lo == pytest.approx(2 * 1.96 * deviation, rel=0.05)
    assert found.n == 450
    with pytest.raises(ValueError, match="at least one unit in every set"):
        weighted_means([(1.0, [1.0]), (1.0, [])], samples=10, seed=0)


@pytest.mark.parametrize(
    ("reply", "language"),
    [
        ("听起来你很生气。", "zh"),
        ("我用 Photoshop 帮你看看吧。", "zh"),
        ("I am here for you.", "en"),
        ("They say 加油 to that, keep going!", "en"),
        ("Ça va aller.", "en"),  # of the same script: not told apart
        ("", None),
        ("… 123 ?!", None),
        ("괜찮아요, 힘내세요.", None),
        ("Всё будет хорошо.", None),
    ],
)
def test_the_script_tells_the_language(reply: str, language: str | None) -> None:
    assert [known for known in ("zh", "en") if is_in(known, reply)] == (
        [language] if language else []
    )

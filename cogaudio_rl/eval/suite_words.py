"""The suites in sentences made from their numbers, whether they please or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cogaudio_rl.eval.metrics import Estimate
from cogaudio_rl.eval.paper import model_names, ours_from
from cogaudio_rl.eval.published import CONFLICT_ACCURACY
from cogaudio_rl.eval.result import ModelResult
from cogaudio_rl.eval.suite import SuiteResult

Paired = dict[str, dict[str, dict[str, Any]]]
"""``{"D-base": {metric: {mean, ci95, n}}}`` of one suite, as in ``report.json``."""


def headline(results: Mapping[str, SuiteResult], paired: Mapping[str, Paired]) -> list[str]:
    """First whether D hears what the words deny, against the base, or how near it comes to listeners'
    votes or to its teacher; then whether its replies follow the voice or the words.

    Without a D, of the last model that was evaluated.
    """
    names = model_names(results)
    if not names:
        return ["No suite was run."]
    ours = "D" if "D" in names else names[-1]
    own = [*_votes(ours, results, paired), *_taught(ours, results)]
    heard = _conflict(ours, results, paired)
    if own and ours_from(CONFLICT_ACCURACY, results) is None:
        heard = []
    return [*own, *heard, *_replies(ours, results)]


def _votes(
    ours: str, results: Mapping[str, SuiteResult], paired: Mapping[str, Paired]
) -> list[str]:
    """In bits of JS, of every suite that listeners voted on."""
    told: list[str] = []
    for name, result in results.items():
        mine = result.models[ours].measured("votes_js") if ours in result.models else None
        if mine is None:
            continue
        here = f"{mine.value:.2f} ({mine.lo:.2f} – {mine.hi:.2f})"
        of = f"Jensen–Shannon divergence in bits, {mine.n} items of {name}"
        base = result.models["base"].measured("votes_js") if "base" in result.models else None
        if base is None or ours == "base":
            told.append(f"{ours} is {here} away from listeners' votes ({of}).")
            continue
        low, high = paired[name].get(f"{ours}-base", {}).get("votes_js", {}).get("ci95", (0.0, 0.0))
        verdict = "nearer to" if high < 0 else "farther from" if low > 0 else "no nearer to"
        told.append(
            f"{ours} lies {verdict} listeners' votes than the base: {here} against "
            f"{base.value:.2f} ({of})."
        )
    return told


def _taught(ours: str, results: Mapping[str, SuiteResult]) -> list[str]:
    """How near replies come to those of a teacher that was told everything."""
    told: list[str] = []
    for name, result in results.items():
        model = result.models.get(ours)
        excess = model.measured("teacher_excess") if model else None
        if model is None or excess is None:
            continue
        near = "nearer than" if excess.hi < 0 else "farther than" if excess.lo > 0 else "as near as"
        mine, again = (model.estimates[f"teacher_{of}"].value for of in ("distance", "resampling"))
        told.append(
            f"{ours} replies to the voice {near} its teacher replies a second time, who was told "
            f"emotion and cause: distance {mine:.2f} against {again:.2f}, {excess.n} items of {name}."
        )
    return told


def _conflict(
    ours: str, results: Mapping[str, SuiteResult], paired: Mapping[str, Paired]
) -> list[str]:
    source = ours_from(CONFLICT_ACCURACY, results)
    if source is None:
        return ["No test set in which words and voice disagree was run."]
    metric, models = source.metric, results[source.suite].models
    if ours not in models or (mine := models[ours].measured(metric)) is None:
        return [f"{ours} was not measured where words and voice disagree."]
    base = models["base"].measured(metric) if "base" in models and ours != "base" else None
    difference = paired[source.suite].get(f"{ours}-base", {}).get(metric)
    where = f"{mine.n} items of the {source.called}"
    if base is None:
        told = f"{ours} names the emotion of the voice {_share(mine)} of the time, on {where}."
    else:
        told = (
            f"{ours} {_verdict(mine, base, difference)}:"
            f" {_share(mine)} against {_share(base)} on {where}."
        )
    rate = models[ours].measured("lexical_label_rate")
    words = [f"It answers with the emotion of the words in {_share(rate)} of them."] if rate else []
    return [f"Where words and voice disagree, {told}", *words]


def _verdict(mine: Estimate, base: Estimate, difference: Mapping[str, Any] | None) -> str:
    """By the paired interval; where no rows were kept, by whether the two intervals are apart."""
    if difference is None:
        low, high = mine.lo - base.hi, mine.hi - base.lo
    else:
        low, high = difference["ci95"]
    if low > 0:
        return "names the emotion of the voice more often than the base"
    if high < 0:
        return "names the emotion of the voice less often than the base"
    return "is not measurably better or worse than the base at naming the emotion of the voice"


def _replies(ours: str, results: Mapping[str, SuiteResult]) -> list[str]:
    """By excess divergence; without it by plain divergence, which has no zero to be held against."""
    models = {name: r.models[ours] for name, r in results.items() if ours in r.models}
    for suite, model in models.items():
        if excess := model.measured("divergence_excess"):
            return [_follow(excess, model, suite)]
    for suite, model in models.items():
        if plain := model.measured("response_divergence"):
            return [
                f"Its replies to the same words in another voice differ by {plain.value:.2f}"
                f" ({suite}; 0: always the same reply, 1: no two words in common)."
            ]
    return []


def _follow(excess: Estimate, model: ModelResult, suite: str) -> str:
    amount = (
        f"excess divergence {_signed(excess.value)}, {_signed(excess.lo)} to {_signed(excess.hi)},"
        f" {suite}"
    )
    if excess.lo <= 0:
        return (
            "Its replies follow the words: from voice to voice they differ no more than two replies"
            f" to one recording do ({amount})."
        )
    told = (
        "Its replies follow the voice: to the same words they differ more from voice to voice than"
        f" two replies to one recording do ({amount})"
    )
    swap, level = (model.measured(f"response_swap_{key}") for key in ("accuracy", "chance"))
    if swap is None or level is None:
        return told + "."
    matched = (
        f"a judge matches {_share(swap)} of them to the emotion they were given to,"
        f" {level.value:.0%} by chance"
    )
    if swap.lo <= level.value:
        return (
            "Its replies change with the voice, but not measurably towards its emotion:"
            f" {amount}; {matched}."
        )
    return f"{told}; {matched}."


def _share(estimate: Estimate) -> str:
    return f"{estimate.value:.0%} ({estimate.lo:.0%} – {estimate.hi:.0%})"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")

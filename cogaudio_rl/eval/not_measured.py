"""Why a metric has no figure: in words, so that no table is blank and nothing is taken for 0."""

from __future__ import annotations

from collections.abc import Iterable

from cogaudio_rl.eval.result import ModelResult
from cogaudio_rl.eval.suite import SuiteResult

_OF_VOTES = ("votes_", "format_ambiguity", "tokens_ambiguity", "seconds_ambiguity")
_OF_WORDS = (
    "conflict_",
    "consistent_",
    "lexical_label_rate",
    "empathy_direct_con",
    "empathy_explicit_con",
)
_OF_SOUND = ("s_audio", "donor_", "lexical_cue_gap")


def why_not(metric: str, suite: SuiteResult, models: Iterable[ModelResult]) -> str:
    """Why nobody has a figure for this model (one result for each seed) on this suite."""
    known = list(models)
    if not known:
        return "the system was not asked here"
    voted = any(model.measured("votes_js") for model in suite.models.values())
    if voted and not metric.startswith(_OF_VOTES):
        return "this test set asks how votes are shared, and for no reply"
    if not voted and metric.startswith(_OF_VOTES):
        return "nobody voted on this test set"
    if metric.startswith("seconds_"):
        return "nobody was timed"
    if metric.startswith(_OF_WORDS):
        return "the words of this test set name no emotion"
    if metric.startswith(_OF_SOUND):
        return "no recording could be exchanged for another"
    if metric.startswith("empathy_"):
        return "the scorer had no verdict on these replies"
    if metric.startswith("response_swap"):
        return "no reply was scored for another emotion than its own"
    if metric == "thought_reply_agreement":
        return "no answer had a chain that parses and a reply whose emotion is known"
    if metric.startswith(("divergence_", "response_divergence")):
        return "no words were said in two emotions"
    if metric.startswith(("votes_r2", "votes_correlation2")):
        return "what was predicted does not vary"
    return "it rests on no utterance"

"""How the suites' metrics are called where people read them, and what guessing would reach."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product

from cogaudio_rl.eval.result import ModelResult
from cogaudio_rl.eval.summary import METRIC_TEXTS, MetricText

HEARING: Mapping[str, MetricText] = {
    "emotion_accuracy": METRIC_TEXTS["emotion_accuracy"],
    "emotion_uar": MetricText(
        group="Emotion accuracy",
        title="UAR",
        about="unweighted average recall: every emotion counts the same, however rare",
        has_chance=True,
    ),
    "emotion_macro_f1": MetricText(
        group="Emotion accuracy", title="macro F1", about="mean F1 over the emotions"
    ),
    "emotion_accuracy_as_written": METRIC_TEXTS["emotion_accuracy_as_written"],
    "emotion_accuracy_silenced": METRIC_TEXTS["emotion_accuracy_silenced"],
    "emotion_accuracy_text_only": MetricText(
        group="Emotion accuracy",
        title="text only",
        about="constrained choice from the written words, without any sound",
        has_chance=True,
    ),
}

_EMPATHY: Mapping[str, MetricText] = {
    key: METRIC_TEXTS[key]
    for key in (
        "format_validity",
        "empathy_direct",
        "empathy_direct_t1",
        "empathy_explicit",
        "empathy_explicit_t1",
        "thought_reply_agreement",
        "response_divergence",
    )
} | {
    "response_divergence_explicit": MetricText(
        group="Replies",
        title="diverge, explicit",
        about="the same of replies after the chain",
    )
}

CONFLICT: Mapping[str, MetricText] = {
    "conflict_accuracy": MetricText(
        group="Words against voice",
        title="conflict",
        about="emotion accuracy where the words name another emotion than the voice",
        has_chance=True,
    ),
    "consistent_accuracy": MetricText(
        group="Words against voice",
        title="consistent",
        about="emotion accuracy where words and voice say the same",
        has_chance=True,
    ),
} | {
    f"empathy_{route}_{part}": MetricText(
        group=f"Empathy, {route}",
        title=part,
        about=f"rubric 1–4 of {route} replies where words and voice "
        + ("disagree" if part == "conflict" else "agree"),
        highest=4,
    )
    for route, part in product(("direct", "explicit"), ("conflict", "consistent"))
}

_HUMDIAL: Mapping[str, MetricText] = {
    **{
        f"{task}_accuracy{language}": MetricText(
            group="HumDial",
            title=task.upper() + language.replace("_", " "),
            about=f"multiple choice: {about}",
        )
        for (task, about), language in product(
            (
                ("t1", "how the emotion moved over the dialogue"),
                ("t2", "what caused the emotion"),
                ("t4", "the emotion of one turn"),
            ),
            ("", "_zh", "_en"),
        )
    },
    "t4_conflict_accuracy": MetricText(
        group="HumDial", title="T4 conflict", about="those whose words and voice disagree"
    ),
    "t4_consistent_accuracy": MetricText(
        group="HumDial", title="T4 consistent", about="those whose words and voice agree"
    ),
} | {
    f"{key}{suffix}": MetricText(
        group="HumDial challenge",
        title=title + suffix.replace("_", " "),
        about=about,
        highest=5,
    )
    for (key, title, about), suffix in product(
        (
            (
                "t1_score",
                "T1",
                "how the emotion moved, in words: mean of three scores of 1, 3 or 5",
            ),
            ("t2_score", "T2", "why, in words: mean of three scores of 1, 3 or 5"),
            ("t3_d1", "T3 D1", "judge’s integer 1–5: empathy and insight of the words"),
            ("t3_d2", "T3 D2", "judge’s integer 1–5: empathy of the voice"),
            ("t3_d3", "T3 D3", "judge’s integer 1–5: quality of the voice"),
            ("challenge_final", "final", "the challenge’s weighted final score, by one judge"),
        ),
        ("", "_zh", "_en"),
    )
}

COST: Mapping[str, MetricText] = {
    "tokens_direct": MetricText(
        group="Cost", title="tokens, direct", about="mean length of an answer", highest=0
    ),
    "tokens_explicit": MetricText(
        group="Cost", title="tokens, explicit", about="the same with the chain", highest=0
    ),
    "seconds_direct": MetricText(
        group="Cost", title="seconds, direct", about="mean time until an answer ends", highest=0
    ),
    "seconds_explicit": MetricText(
        group="Cost", title="seconds, explicit", about="the same with the chain", highest=0
    ),
}
"""``highest`` 0: there is none."""

_VOTES: Mapping[str, MetricText] = {
    f"votes_{key}": MetricText(group="Listeners' votes", title=title, about=about, highest=highest)
    for key, title, about, highest in (
        ("js", "JS ↓", "Jensen–Shannon divergence of predicted shares from the votes, in bits", 1),
        ("bhattacharyya", "BC", "Bhattacharyya coefficient of the two: 1 is equal", 1),
        ("r2", "R²", "coefficient of determination over all shares", 1),
        ("correlation2", "r²", "squared correlation over all shares", 1),
        ("brier", "Brier ↓", "squared difference of shares, a mean over the classes", 1),
        ("calibration_error", "ECE ↓", "expected calibration error of the most probable label", 1),
        ("top1", "top 1", "an emotion that most heard is the most probable", 1),
        ("top2", "top 2", "or the second most probable", 1),
    )
} | {
    "format_ambiguity": MetricText(
        group="Listeners' votes",
        title="format",
        about="share of chains that parse and name an emotion that could be chosen",
    ),
    "tokens_ambiguity": MetricText(
        group="Cost", title="tokens, chain", about="mean length of a chain", highest=0
    ),
    "seconds_ambiguity": MetricText(
        group="Cost", title="seconds, chain", about="mean time until a chain ends", highest=0
    ),
}

_ATTRIBUTION: Mapping[str, MetricText] = {
    key: MetricText(group=group, title=title, about=about, highest=highest)
    for group, key, title, about, highest in (
        (
            "Beside the teacher",
            "empathy_gain",
            "empathy over A",
            "paired difference of greedy direct replies to those of SFT on the annotators' own",
            3,
        ),
        (
            "Beside the teacher",
            "teacher_distance",
            "distance ↓",
            "1 − cosine (TF-IDF, character 3- to 5-grams) of a direct reply, drawn, to one that a "
            "teacher drew, who is told emotion and cause",
            1,
        ),
        (
            "Beside the teacher",
            "teacher_resampling",
            "resampling",
            "the same of another reply of the teacher's own",
            1,
        ),
        (
            "Beside the teacher",
            "teacher_excess",
            "excess ↓",
            "the one minus the other, paired: 0 or below is as near as the teacher to itself",
            1,
        ),
        (
            "Thought",
            "unasked_thoughts",
            "unasked ↓",
            "share of utterances whose direct replies hold a thought",
            1,
        ),
        ("Thought", "format_thought", "format", "share of thoughts that parse, when asked for", 1),
        ("Thought", "thought_emotion", "emotion", "the emotion that a thought infers is right", 1),
        ("Thought", "thought_intensity", "intensity", "its intensity is", 1),
        ("Thought", "thought_pitch", "pitch", "the level of pitch that it observes is", 1),
        ("Thought", "thought_pace", "pace", "the level of pace is", 1),
        ("Thought", "thought_grounded", "grounded", "its cause is in the words", 1),
        ("Spoken reply", "format_spoken", "format", "share of spoken replies that parse", 1),
        (
            "Spoken reply",
            "voice_suits_reply",
            "suits reply",
            "the synthesised reply is heard in the voice that suits the emotion it is a reply to",
            1,
        ),
        (
            "Spoken reply",
            "voice_suits_reply_shuffled",
            "reply shuffled",
            "the same with the sounds of other replies: what chance reaches",
            1,
        ),
        (
            "Spoken reply",
            "voice_suits_user",
            "suits user",
            "it is heard in the voice that suits the user's emotion",
            1,
        ),
        (
            "Spoken reply",
            "voice_suits_user_shuffled",
            "user shuffled",
            "the same with the sounds of other replies",
            1,
        ),
    )
}

TABLE_TEXTS: Mapping[str, MetricText] = {
    **HEARING,
    **CONFLICT,
    **_HUMDIAL,
    **_EMPATHY,
    **_VOTES,
    **_ATTRIBUTION,
    **COST,
}
"""The columns of a suite's table, in order; those of one group stand together."""

PAIRED_TEXTS: Mapping[str, MetricText] = {
    key: TABLE_TEXTS[key]
    for key in (
        "emotion_accuracy",
        "emotion_accuracy_as_written",
        "conflict_accuracy",
        "consistent_accuracy",
        "format_validity",
        "empathy_direct",
        "empathy_direct_t1",
        "empathy_explicit",
        "empathy_explicit_t1",
        "votes_js",
        "votes_bhattacharyya",
        "votes_brier",
        "votes_top1",
        "votes_top2",
    )
}
"""What the plots of paired differences show."""

LISTENING: Mapping[str, MetricText] = {
    "s_audio": MetricText(
        group="Listening",
        title="S_audio",
        about="How much accuracy falls when the recording is replaced by silence or by one of other "
        "words: 0 for a model that does not listen.",
    ),
    "lexical_cue_gap": MetricText(
        group="Listening",
        title="Lexical-cue gap",
        about="Accuracy from the written words alone minus accuracy from the sound alone: above 0 "
        "the words tell the model more.",
    ),
    "donor_follow": MetricText(
        group="Listening",
        title="Donor follow rate",
        about="The recording is swapped for one of the same words in another emotion: how often the "
        "answer follows the new voice, and what blind answers would reach (the tick).",
    ),
    "donor_above_chance": MetricText(
        group="Listening",
        title="Donor follow, above chance",
        about="The same with its chance level taken off: 0 for a model that does not listen.",
    ),
    "conflict_gap": MetricText(
        group="Listening",
        title="Conflict gap",
        about="Accuracy where words and voice agree minus accuracy where they do not: what it costs "
        "when the words mislead.",
    ),
    "lexical_label_rate": MetricText(
        group="Listening",
        title="Lexical-label rate",
        about="How often the emotion of the words is the answer where the voice has another.",
    ),
    "divergence_across": MetricText(
        group="Listening",
        title="Divergence across voices",
        about="How differently the same words are answered in two emotions: 0 is word for word the "
        "same reply.",
    ),
    "divergence_resampling": MetricText(
        group="Listening",
        title="Divergence of resampling",
        about="How differently one and the same recording is answered twice: what chance alone does.",
    ),
    "divergence_excess": MetricText(
        group="Listening",
        title="Divergence, excess",
        about="Across voices minus resampling: above 0 the voice, not chance, moves the replies.",
    ),
    "response_swap_accuracy": MetricText(
        group="Listening",
        title="Response swap",
        about="Share of replies that a judge matches to the emotion they were given to: at the tick "
        "replies do not show what was heard.",
    ),
}
"""The measures of semantic dominance, each explained in one sentence."""

_DIFFERENCES = frozenset(
    {"s_audio", "lexical_cue_gap", "donor_above_chance", "conflict_gap", "divergence_excess"}
)
_CHANCE_METRICS: Mapping[str, str] = {
    "donor_follow": "donor_chance",
    "response_swap_accuracy": "response_swap_chance",
    **{
        f"{task}{part}_accuracy{language}": f"{task}_chance"
        for task, part, language in product(
            ("t1", "t2", "t4"), ("", "_conflict", "_consistent"), ("", "_zh", "_en")
        )
    },
}


def chance_level(metric: str, model: ModelResult) -> float | None:
    """What a model that knows nothing would reach; None where nobody can say.

    0 for a difference, an estimate of its own where the model has one, else 1 / number of labels
    for what is a choice among them.
    """
    if metric in _DIFFERENCES:
        return 0.0
    own = model.measured(_CHANCE_METRICS.get(metric, ""))
    if own is not None:
        return own.value
    text = TABLE_TEXTS.get(metric) or LISTENING.get(metric)
    if text is not None and text.has_chance and model.labels:
        return 1 / len(model.labels)
    return None


def text_of(metric: str) -> MetricText:
    """How a metric is called; one that nobody named is called by its key."""
    known = TABLE_TEXTS.get(metric) or LISTENING.get(metric)
    return known or MetricText(group="Other", title=metric, about=metric, highest=0)


def scale_of(metric: str) -> tuple[float, float]:
    """The least and the most that a metric can be."""
    if metric in _DIFFERENCES or metric == "teacher_excess":
        return -1.0, 1.0
    if metric == "empathy_gain":
        return -3.0, 3.0
    if metric == "votes_r2":
        return -math.inf, 1.0
    highest = text_of(metric).highest
    if highest == 0:
        return 0.0, math.inf
    return (0.0, highest) if highest == 1 else (1.0, highest)

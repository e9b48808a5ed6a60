"""Every error a user can meet, in one tree.

    CogAudioError            anything we raise on purpose
    ├── InputError           what the user gave is wrong: exit code 2, one line, no traceback
    │   ├── ConfigError      a recipe key, type or range
    │   ├── DataError        a manifest, a label, a split, an audio file
    │   ├── CheckpointError  a checkpoint that is missing or of another architecture
    │   ├── JudgeUnreachable a judge endpoint that does not answer
    │   └── ClusterError     a Ray cluster that does not answer, refuses us or knows no such job
    └── RunError             the run itself failed: exit code 1
        ├── WorkerDied       a worker process ended by itself, was killed, or lost its node
        ├── PublishError     a rollout worker does not answer with the new adapter
        └── WaitTimeout      something did not happen in time; the message says what

Each takes exactly one string. Ray pickles exceptions by their ``args``: a class with a longer
``__init__`` comes back from a worker as ``UnserializableException`` and hides its message.
"""

from __future__ import annotations


class CogAudioError(Exception):
    """Base of all errors raised on purpose; takes one message."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class InputError(CogAudioError):
    """What the user gave is wrong. The command line prints it in one line and exits with 2."""


class ConfigError(InputError):
    """A recipe key is unknown, of the wrong type or out of range."""


class DataError(InputError):
    """A manifest, label, split or audio file cannot be used."""


class CheckpointError(InputError):
    """A checkpoint is missing, damaged or of another architecture."""


class JudgeUnreachable(InputError):
    """The judge endpoint did not answer the probe made before the run starts."""


class ClusterError(InputError):
    """A Ray cluster does not answer at the address, refuses the token, or knows no such job."""


class RunError(CogAudioError):
    """The run failed while running."""


class WorkerDied(RunError):
    """A worker's process ended by itself, was killed, or its node was lost."""


class PublishError(RunError):
    """A sampler does not answer with the adapter that was published."""


class WaitTimeout(RunError):
    """A wait ran out; the message says what was waited for and for how long."""

"""CogAudio-RL: teach audio language models to answer how something is said.

The science lives here; importing this package never loads ray, vllm or deepspeed.
"""

__version__ = "0.1.0"

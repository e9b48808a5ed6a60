"""Settings of the whole suite."""

import os

from hypothesis import settings

# Read when torch is first imported, here and in every process a test starts: on a busy machine two
# threads wait for each other longer than one needs for both.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says how busy the machine is, nothing about the code.
settings.register_profile("cogaudio", deadline=None)
settings.load_profile("cogaudio")

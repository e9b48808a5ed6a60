"""Settings of the whole suite."""

from hypothesis import settings

# How long an example takes says how busy the machine is, nothing about the code.
settings.register_profile("cogaudio", deadline=None)
settings.load_profile("cogaudio")

"""What is told of a server that did not start: the error, out of all that Ray Serve says of it."""

from __future__ import annotations

import traceback

import pytest

from clusters.serving import last_words
from cogaudio_rl.config import parse_config
from cogaudio_rl.config.serve import ServeConfig
from cogaudio_rl.errors import ConfigError

FRAME = "The deployment failed to start 3 times in a row. See controller logs. Error:\n"


def told(error: Exception) -> str:
    """As Ray Serve does."""
    return FRAME + "".join(traceback.format_exception(error)) + "\n"


def test_an_error_of_ours() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"serve": {"port": 0}})
    assert last_words(told(caught.value)) == f"cogaudio_rl.errors.ConfigError: {caught.value}"


def test_an_error_of_several_lines() -> None:
    with pytest.raises(ValueError, match="port") as caught:
        ServeConfig(port=0)
    words = last_words(told(caught.value))
    assert "1 validation error for ServeConfig port Input should be" in words
    assert "\n" not in words
    assert "further information" not in words


def test_an_error_without_a_traceback() -> None:
    assert last_words("Deploying application cogaudio failed: no") == (
        "Deploying application cogaudio failed: no"
    )
    assert last_words("") == ""

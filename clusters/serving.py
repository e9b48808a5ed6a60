"""``cogaudio-rl serve``: start the server, or have a running one serve other adapters."""

from __future__ import annotations

import os
import threading
import time
from http.client import HTTPConnection
from typing import Any

from actors import cores
from clusters.backend import connect
from clusters.serve_tuning import SERVE_TUNING
from cogaudio_rl.config import Config
from cogaudio_rl.console import Console
from cogaudio_rl.errors import ConfigError, RunError
from cogaudio_rl.serve.engine import BASE
from cogaudio_rl.serve.keys import KEYS_VARIABLE, Keys, require_keys
from cogaudio_rl.serve.responder import THINK

APPLICATION = "cogaudio"
_BETWEEN_LOOKS_S = 0.2
_FRAME, _QUOTED = '  File "', "    "
_ADVICE = "For further information"
"""How pydantic ends every error."""
_LONGEST_WORDS = 400
# Access logs cost as much as many tokens; /metrics counts.
_LOGGING = {"log_level": "WARNING", "enable_access_log": False}


def serve_models(config: Config) -> None:
    """Serve until Ctrl-C. Raises ConfigError for a wide-open server without keys."""
    _tune()
    from actors.responder import application

    keys = Keys.of(os.environ)
    require_keys(config.serve.host, keys)
    deployed = application(config)
    if config.cluster.address is None and not config.serve.gpus_per_replica:
        cores.divide(config.serve.replicas * config.serve.threads_per_replica)
    connect(config.cluster.address)
    import ray
    from ray import serve

    try:
        serve.start(
            proxy_location="HeadOnly",
            http_options={"host": config.serve.host, "port": config.serve.port},
            logging_config=_LOGGING,
        )
        _run(deployed)
        keyed = asks_for_key(config.serve.host, config.serve.port)
        if keys and not keyed:
            raise ConfigError(
                f"the server would ask for no key: its nodes do not have the {KEYS_VARIABLE} that is "
                "set here; set it where Ray is started on them"
            )
        _announce(config, keys=keyed)
        threading.Event().wait()
    except KeyboardInterrupt:
        Console().note("stopped")
    finally:
        _stop(joined=config.cluster.address is not None)
        ray.shutdown()


def _stop(*, joined: bool) -> None:
    """End the server; on a cluster that was ``joined``, leave what others serve there alone."""
    from ray import serve

    if joined and set(serve.status().applications) - {APPLICATION}:
        serve.delete(APPLICATION)
    else:
        serve.shutdown()


def reload_models(config: Config) -> None:
    """Have the server that is running serve the configuration's adapters; no request is dropped.

    Raises RunError where none is running.
    """
    # A cluster that somebody else started asks for the token in ~/.ray; Ray shows it when it was told
    # to before it is imported.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    _tune()
    from actors.responder import application

    deployed = application(config)
    address = config.cluster.address or "auto"
    try:
        connect(address)
    except ConnectionError:
        raise RunError(
            f"there is no Ray cluster at {address!r}; give the one that `cogaudio-rl serve` named "
            "as it started: cluster.address=HOST:PORT"
        ) from None
    from ray import serve

    if APPLICATION not in serve.status().applications:
        raise RunError(
            f"no server is running on the Ray cluster at {address!r}; start one with "
            "`cogaudio-rl serve`, or name another: cluster.address=HOST:PORT"
        )
    _run(deployed)
    Console().note(f"serving {_models(config)}")


def _tune() -> None:
    for name, value in SERVE_TUNING.items():
        os.environ.setdefault(name, value)


def _run(deployed: Any) -> None:
    """Until it answers. Raises RunError with what its replicas ended with."""
    from ray import serve

    try:
        serve.run(deployed, name=APPLICATION, logging_config=_LOGGING)
    except RuntimeError as error:
        application = serve.status().applications.get(APPLICATION)
        told = [one.message for one in application.deployments.values()] if application else []
        raise RunError(
            f"the server did not start: {last_words(told[-1] if told else str(error))}"
        ) from None


def last_words(message: str) -> str:
    """In one line, the error that a message with a traceback ends with."""
    lines = [line for line in message.splitlines() if line.strip()]
    begins = max((at for at, line in enumerate(lines) if line.startswith(_FRAME)), default=-1) + 1
    # Below a frame, the code that it quotes.
    while begins and begins < len(lines) and lines[begins].startswith(_QUOTED):
        begins += 1
    said = [line.strip() for line in lines[begins:] if not line.strip().startswith(_ADVICE)]
    return " ".join(said)[:_LONGEST_WORDS]


def asks_for_key(host: str, port: int, *, patience_s: float = 30.0) -> bool:
    """Whether the server there wants a key, which its replicas' own environment decides.

    Raises RunError when it does not answer.
    """
    # "Anywhere" is no address to ask at.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    deadline = time.monotonic() + patience_s
    while True:
        asked = HTTPConnection(host, port, timeout=patience_s)
        try:
            asked.request("GET", "/v1/models")
            status = asked.getresponse().status
        except OSError:
            status = 0
        finally:
            asked.close()
        if status in (200, 401):
            return status == 401
        if time.monotonic() > deadline:
            raise RunError(f"the server does not answer on {host}:{port}, or another one does")
        time.sleep(_BETWEEN_LOOKS_S)


def _announce(config: Config, *, keys: bool) -> None:
    import ray

    console, settings = Console(), config.serve
    console.note(f"serving on http://{settings.host}:{settings.port} (API under /v1)")
    console.note(f"models: {_models(config)}")
    console.note(
        "keys: a request needs one of COGAUDIO_API_KEYS"
        if keys
        else "keys: none; only this machine can ask"
    )
    address = ray.get_runtime_context().gcs_address
    console.note(f"other checkpoints: cogaudio-rl serve --reload … cluster.address={address}")


def _models(config: Config) -> str:
    names = (*config.serve.checkpoints, BASE)
    return ", ".join(name + end for name in names for end in ("", THINK))

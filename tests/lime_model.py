"""A model that writes, guesses and annotates for the LIME factory, from the embedded author's bank."""

from __future__ import annotations

import json
from typing import Any

from chat_server import Endpoint, Reply, completion

from cogaudio_rl.data.lime import author


class Model:
    """Writes, guesses and annotates like a model that heeds its prompt, but for ``spoil``."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.spoil: dict[int, Reply] = {}
        self.sure: set[str] = set()
        self._endpoint = endpoint

    def __call__(self, number: int) -> Reply:
        if number in self.spoil:
            return self.spoil[number]
        request = self._endpoint.requests[number]
        asked = json.loads(request["messages"][1]["content"])
        name = request["response_format"]["json_schema"]["name"]
        return completion(json.dumps(getattr(self, name)(asked), ensure_ascii=False))

    def _written(self, asked: Any) -> Any:
        pool = author.sentences("zh" if asked["language"] == "Chinese" else "en")
        one = pool[asked["number"]]
        return {"sentence": one.text, "topic": one.topic, "gist": one.gist}

    def _guess(self, asked: Any) -> Any:
        first = 0.9 if asked["sentence"] in self.sure else 1 / 7
        rest = (1 - first) / 6
        shares = [first] + [rest] * 6
        return {
            "shares": [
                {"emotion": e, "probability": p}
                for e, p in zip(asked["emotions"], shares, strict=True)
            ]
        }

    def _said(self, asked: Any) -> Any:
        pool = author.sentences("zh" if asked["language"] == "Chinese" else "en")
        sentence = next(s for s in pool if s.text == asked["sentence"])
        chain = author.annotate(sentence, asked["emotion"], depth=4, variant=0).eips
        return {name: getattr(chain, name) for name in chain.__dataclass_fields__}

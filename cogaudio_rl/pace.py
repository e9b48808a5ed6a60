"""Requests and tokens a minute, kept by spacing requests out before they are sent.

Providers count over windows of their own choosing, some as short as a second, so nothing is saved up
while there is little to ask: no minute holds more requests than the limit, and no more tokens than
the limit and one request's.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Says how long each request has to wait; None is no limit."""

    def __init__(
        self,
        *,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._request_s = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._token_s = 60.0 / tokens_per_minute if tokens_per_minute else 0.0
        self._clock = clock
        # Limits run out apart: a long request holds back tokens, not requests.
        self._next_request = self._next_token = clock()

    def reserve(self, tokens: float) -> float:
        """Seconds until a request of about so many tokens may be sent; later ones come after it."""
        now = self._clock()
        start = max(now, self._next_request, self._next_token)
        self._next_request = start + self._request_s
        self._next_token = start + self._token_s * tokens
        return start - now

    def give_back(self, tokens: float) -> None:
        """So many tokens fewer were used than reserved; below 0, more."""
        self._next_token -= self._token_s * tokens

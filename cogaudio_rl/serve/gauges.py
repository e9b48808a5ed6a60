"""What one replica counts about itself, as Prometheus text.

A scrape reaches whichever replica answers; over all of them, Ray Serve's own metrics add up.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from cogaudio_rl.serve.responder import Responder

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Gauges:
    """Counters of one process."""

    def __init__(self, responder: Responder) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "cogaudio_requests",
            "Chat requests that ended, by HTTP status; 499: the client left",
            ["status"],
            registry=self._registry,
        )
        self.tokens = Counter(
            "cogaudio_tokens", "Tokens of answered requests", ["kind"], registry=self._registry
        )
        self.first_s = Histogram(
            "cogaudio_first_event_seconds",
            "From a request's arrival to the first event of its answer",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.whole_s = Histogram(
            "cogaudio_request_seconds",
            "From a request's arrival to the end of its answer",
            buckets=_SECONDS,
            registry=self._registry,
        )
        under_way = Gauge(
            "cogaudio_requests_under_way",
            "Requests that are being answered or wait for it",
            registry=self._registry,
        )
        under_way.set_function(lambda: responder.under_way)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)

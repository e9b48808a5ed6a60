"""Ray Serve's own settings for throughput. Its processes read them when they import it."""

from __future__ import annotations

from collections.abc import Mapping

SERVE_TUNING: Mapping[str, str] = {
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # That is meant to bring this, and Ray 2.60 reads it too early: an answer then takes a Ray task and
    # an object for each chunk on its way from the replica, twice the proxy's work.
    "RAY_SERVE_PROXY_USE_GRPC": "1",
    # Replicas listening for themselves need a load balancer, which would listen everywhere.
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
    # Ray gives its workers way to everybody else; here they are who is waited for.
    "RAY_worker_niceness": "0",
}

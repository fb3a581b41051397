"""Counts and times for Prometheus; nothing of an image."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)


class Metrics:
    """The metrics of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        options: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("aigid_requests", "Requests answered.", ("path", "status"), **options)
        self.seconds = Histogram(
            "aigid_request_seconds", "Seconds to an answer.", ("path",), buckets=SECONDS, **options
        )
        self.images = Counter("aigid_images", "Images by verdict, or why there is none.", ("result",), **options)
        self.batch = Histogram("aigid_batch_images", "Images scored together.", buckets=(1, 2, 4, 8, 16, 32), **options)
        self._waiting = Gauge("aigid_waiting_images", "Images that wait.", **options)
        self._held = Gauge("aigid_held_bytes", "Bytes of requests in memory.", **options)

    def watch(self, service: Any) -> None:
        """Take the gauges from a service whenever they are read."""
        self._waiting.set_function(lambda: service.engine.waiting)
        self._held.set_function(lambda: service.buffered)

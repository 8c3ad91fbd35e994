"""What Prometheus reads: counted cheaply while polling, rendered at scrape time."""

from pollerd.status.metrics.collector import Collector, ConnectionUse, Scrape, registry
from pollerd.status.metrics.meter import Meter

__all__ = ["Collector", "ConnectionUse", "Meter", "Scrape", "registry"]

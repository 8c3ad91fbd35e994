"""What Prometheus reads: counted cheaply while polling, rendered at scrape time."""

from pollerd.status.metrics.collector import Collector, Crowding, Exposed, registry
from pollerd.status.metrics.meter import Meter

__all__ = ["Collector", "Crowding", "Exposed", "Meter", "registry"]

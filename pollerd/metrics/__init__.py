"""What Prometheus is shown: counted cheaply on the hot path, put into words at scrape time."""

from pollerd.metrics.collector import Collector, Crowding, Exposed, registry
from pollerd.metrics.meter import Meter

__all__ = ["Collector", "Crowding", "Exposed", "Meter", "registry"]

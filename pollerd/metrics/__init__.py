"""What Prometheus is shown: counted cheaply on the hot path, put into words at scrape time."""

from pollerd.metrics.collector import Collector, Exposed, registry
from pollerd.metrics.meter import Meter

__all__ = ["Collector", "Exposed", "Meter", "registry"]

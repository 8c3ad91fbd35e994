"""What Prometheus reads: counted cheaply while polling, rendered at scrape time."""

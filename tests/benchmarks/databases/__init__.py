"""What it costs to look for pending messages in a large table: `python -m tests.benchmarks.databases`."""

"""What the store in PostgreSQL costs, against SQLite in the same run: `python -m tests.benchmarks.postgresql`."""

"""Daemons that share a store in PostgreSQL, and what may happen to them: `python -m tests.cluster --help`."""

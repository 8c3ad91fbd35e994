"""The long form: `python -m tests.soak --minutes 60`."""

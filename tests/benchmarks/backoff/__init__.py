"""Simulations of the backoff against other policies and against the exact optimum; see README.md."""

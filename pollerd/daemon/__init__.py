"""Everything put together: the one place that builds the daemon, and what runs it from its start to its stop.

A configuration enters; a running process, its status line and its exit code leave.
"""

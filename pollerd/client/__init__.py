"""pollerd from Python: track, wait, follow, with and without a running daemon; and the HTTP client of the commands.

Ids and waits of a program enter; values of `values` leave. The store is read, or the control socket asked.
"""

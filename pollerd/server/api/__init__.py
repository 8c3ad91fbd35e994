"""The control API: HTTP with JSON over a Unix socket, and `/metrics` on a port of its own.

Requests of `curl --unix-socket`, the commands and programs enter; documents, events as NDJSON and metrics leave.
"""

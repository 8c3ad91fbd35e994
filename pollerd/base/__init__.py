"""The ground that every room stands on: errors, logs, redaction, text, folders, sockets, failpoints, the time anchor.

Knows nothing of messages. Plain values enter, plain values leave; nothing here imports another room.
"""

"""All that is shown of the daemon, before it is painted: snapshot, document, sentences, timeline, statistics.

The state of the running parts or the database enters; typed documents and sentences leave. Nothing is changed here.
"""

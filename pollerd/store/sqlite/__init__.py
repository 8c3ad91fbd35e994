"""The engine that is always there: one SQLite file, its lock, its schema, and all that is SQLite's alone.

Statements and paths enter; rows and errors of our own leave, each error with what to do about it.
"""

"""Databases of applications: how one is opened from its URL, how long it may take, and what its errors mean.

A URL and a secret enter; SQLAlchemy connections leave, or a `DatabaseError` in words for its user.
"""

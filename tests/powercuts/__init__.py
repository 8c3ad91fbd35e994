"""Replays of power cuts: what would reach the disk is logged, the log is cut, and a daemon starts on what is left."""

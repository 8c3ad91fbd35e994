"""Outputs into databases: the rules that hold whichever database it is.

Events and a configured statement enter; executed statements leave, and events that find no row are kept for later.
"""

"""pollerd on a machine: `doctor` finds what is wrong with an installation, `service` puts it in place.

A configuration and the machine enter; checks and steps leave. The daemon needs neither.
"""

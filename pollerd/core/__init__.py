"""What pollerd decides, and nothing else: states, differences, events, outcomes, and the ports that the adapters fill.

Pure: no I/O, no clock, no randomness, no asyncio. Values of `model` enter, results and events leave.
"""

"""`pollerd doctor`: tries everything that an installation needs and says what is wrong and what to do next.

A configuration's path, the environment and the machine enter; a `Report` of checks leaves. Nothing is changed.
"""

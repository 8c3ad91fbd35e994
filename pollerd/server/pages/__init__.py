"""The status page for people with a browser. Read-only, and nothing on it comes from another host.

The status document and rows of the store enter; HTML leaves.
"""

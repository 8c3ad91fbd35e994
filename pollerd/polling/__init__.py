"""When and what to poll: the window of what is due, the poller of each account, and the committer of what it finds.

Rows of the store and answers of the gateway enter through ports; one result a poll leaves, to be committed.
"""

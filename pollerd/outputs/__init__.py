"""Where events go: file, socket, webhook, program, database. Each output reads at its own pace from its own place.

Committed events enter by `seq`; lines, requests and rows leave, and the place of each output goes back to the store.
"""

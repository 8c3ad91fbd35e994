"""The gateway over HTTP: one client for each account, what its limits allow, and what the vendor's answers mean.

Requests for one message or the balance enter; outcomes leave, every failure among them as a value.
"""

"""GatewayAPI over HTTP: one client for each account, and what its limits allow.

Requests for one message or the balance enter; outcomes leave, every failure among them as a value.
"""

from pollerd.gateway.client import GatewayClient

__all__ = ["GatewayClient"]

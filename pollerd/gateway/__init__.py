"""GatewayAPI over HTTP: one client an account, every failure a value."""

from pollerd.gateway.client import GatewayClient

__all__ = ["GatewayClient"]

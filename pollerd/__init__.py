"""pollerd follows every SMS sent through GatewayAPI to its final state."""

"""What is GatewayAPI's own: where it is asked, who asks, and what its answers and its error codes mean.

A request's account enters; outcomes leave. Another vendor is a folder beside this one that fulfils `gateway.vendor`.
"""

"""`pollerd demo`: a simulated gateway, the daemon and its events in one process, in a temporary folder."""

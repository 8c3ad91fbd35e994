"""`pollerd plan`: what the backoff would do, what it has learned, and what it would have done."""

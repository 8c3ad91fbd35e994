"""How fast an account may ask, and when it must not ask at all: outcomes enter, delays and holds leave."""

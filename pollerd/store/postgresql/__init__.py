"""PostgreSQL: how it is connected to, its schema and its own statements. Imported only where `[store] url` is set."""

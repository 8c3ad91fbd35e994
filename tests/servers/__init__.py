"""Real database servers for tests: PostgreSQL, MariaDB and pgbouncer, in temporary folders and on ports of their own.

Each worker starts a server of each kind for itself when the first of its tests wants one. That takes half a second of
processor time, and nothing has to be shared between processes: users belong to a whole server, and tests make them and
give them rights. Within a server each test has a database of its own. A test that kills or stops one starts its own.
"""

"""pollerd over HTTP: where it listens, who may connect and how many; the API and the pages are rooms of their own.

Requests of local programs and browsers enter; documents of `status` and requests to the store leave.
"""

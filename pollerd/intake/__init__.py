"""Every form in which message ids come in: plain SQL, a source's query, the control socket, a stream.

Ids with what is known of them enter; rows of the store leave.
"""

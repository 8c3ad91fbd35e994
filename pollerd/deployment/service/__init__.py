"""`pollerd service`: puts the systemd service in place, and takes it away again.

A configuration and an account to run as enter; a plan of steps leaves, and is carried out when the user says so.
"""

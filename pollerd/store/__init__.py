"""The database: all SQL of pollerd stands here and only here.

Messages, results and cursors enter; committed rows and events by `seq` leave.
"""

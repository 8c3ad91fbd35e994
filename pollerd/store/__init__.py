"""Everything that outlives a restart: all SQL stands here and only here. `sqlite` is the engine, the rest is any's.

Messages, results and cursors enter; committed rows and events by `seq` leave.
"""

"""What a look at the daemon tells, worked out from plain numbers. Pure: no clock, no I/O."""

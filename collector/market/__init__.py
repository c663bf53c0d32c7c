"""What a bar is. Pure: no I/O, no clock, no environment; time is an argument."""

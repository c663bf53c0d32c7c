"""An FMP server of our own, for ``--demo``, tests and benches.

It speaks FMP's wire format to the byte, from prices that it makes up (always the same ones) or
replays from a parquet file. Start it with `collector.simulator.app.serve`, or with ``collector
simulator``.
"""

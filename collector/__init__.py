"""collector keeps market prices fresh: FMP into PostgreSQL, and into Redis for scanners."""

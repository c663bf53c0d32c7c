"""PostgreSQL: schema, batches in, the last bars out, runs, universe and the fetcher's lock."""

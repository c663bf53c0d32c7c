"""Everything FMP: what to ask, how to ask it within the quota, and what the answers mean."""

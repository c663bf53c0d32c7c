"""Everything Redis: keys and codec (pure), publish and read. The database never depends on it."""

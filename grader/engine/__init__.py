"""The Docker engine: what it is, which images it has, and what gradings left behind on it."""

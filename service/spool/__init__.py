"""Changes of histories that wait on this machine's disk while the store is away."""

"""Processes that share one Redis: what each serves and knows, and swaps that reach all replicas."""

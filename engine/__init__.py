"""Pure computation: requests in the caller's ids in, answers in the caller's ids out. No HTTP, no Redis."""

"""Every user's newest events: the stores, the breaker around them, and what they raise."""

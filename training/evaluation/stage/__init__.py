"""A model's interests judged as a retrieval stage, beside controls of the same weights without diffusion."""

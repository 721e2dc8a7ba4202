"""The online service: FastAPI over a history store, a micro-batcher and a bundle in memory."""

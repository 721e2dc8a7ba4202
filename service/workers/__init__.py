"""Several processes at one address: the supervisor, the workers, and the calls between them."""

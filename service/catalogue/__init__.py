"""Changes of the catalogue while it is served: kept in a log, and in every answer that follows."""

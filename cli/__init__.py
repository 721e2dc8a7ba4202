"""The `dimerec` command: thin, one file a subcommand."""

"""Tests of the `dimerec` command."""

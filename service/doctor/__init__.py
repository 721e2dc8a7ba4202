"""The examination of `dimerec doctor`: everything around a service that can be wrong, in plain words."""

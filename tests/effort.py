"""How many cases the property tests try: few in `make test`, more in `make smoke`, many in `make fuzz`.

The first two try the same cases every time, so that what is found is of the change; `make fuzz` tries others.
A test that says nothing tries as many as its profile has; one whose cases are dear says its own number with
`examples`.
"""

from hypothesis import settings

PROFILES = {"test": 100, "smoke": 500, "long": 10_000}

for name, cases in PROFILES.items():  # without a deadline: time is measured, never asserted
    settings.register_profile(name, max_examples=cases, deadline=None, derandomize=name != "long")
settings.load_profile("test")


def examples(in_test: int) -> int:
    """The cases of a test that tries `in_test` of them in `make test`: as many more as the profile has."""
    return max(1, in_test * settings().max_examples // PROFILES["test"])

"""Everything that can be wrong with a bundle, as one tree.

BundleError
├── BundleRequestError       what was asked for makes no sense: a version name, a number to keep, a device
├── BundleMissingError       nothing is published there, or not that version
├── BundleDamagedError       a file is missing, cut short, altered or a link
└── BundleIncompatibleError  whole, but of another format, or its parts do not belong together

A root that cannot be written (full, read-only) is an OSError.
"""

from files.errors import DimeRecError


class BundleError(DimeRecError):
    """Base of all errors raised by `bundle`; its text is one line that names the remedy."""


class BundleRequestError(BundleError):
    """A request that makes no sense: a version name, a number of versions to keep, a device."""


class BundleMissingError(BundleError):
    """Nothing is published there, or not that version."""


class BundleDamagedError(BundleError):
    """A file of the bundle is missing, cut short, altered or a link."""


class BundleIncompatibleError(BundleError):
    """The bundle is whole, but of another format, or its parts do not belong together."""

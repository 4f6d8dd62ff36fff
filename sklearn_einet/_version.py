"""The version of the package, in a module without imports for the build to read."""

__version__ = "0.1.0"

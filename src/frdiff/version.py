"""The version, in a module of its own: read by the build, and without importing anything."""

__version__ = "0.1.0"

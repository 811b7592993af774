"""The version of mpidask, where every module may look it up."""

__all__ = ["__version__"]

__version__ = "0.1.0.dev0"

"""The app: compare policies, search for one, and look into one, in a browser on this machine."""

from frdiff.app.serving import check_model, launch

__all__ = ["check_model", "launch"]

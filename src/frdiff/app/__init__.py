"""The app: compare policies, search for one, and look into one, in a browser on this machine."""

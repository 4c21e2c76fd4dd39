"""Features and scores of the last keyframes, and what is extrapolated from them."""

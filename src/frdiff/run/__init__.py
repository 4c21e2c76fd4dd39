"""A policy applied: the patch around a denoiser and its targets, and the state of a run."""

"""Posteriors of a VAE, encoded once, from which training draws latents anew every epoch.

    frdiff.posteriors.build(vae, pictures, "cache", preprocessing="256x256, no flips")
    data = frdiff.posteriors.CachedPosteriors("cache", vae, preprocessing="256x256, no flips")

A cache is a folder of safetensors shards and a manifest, which says of what they are.
"""

from frdiff.posteriors.dataset import CachedPosteriors
from frdiff.posteriors.encoding import build
from frdiff.posteriors.manifest import Manifest

__all__ = ["CachedPosteriors", "Manifest", "build"]

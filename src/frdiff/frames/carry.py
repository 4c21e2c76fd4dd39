"""What a decoder carries from chunk to chunk of a clip; wrapped on instances, no forward copied."""

import re
from collections.abc import Callable
from typing import Any

import torch
from diffusers import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from frdiff.frames.causal import TimeLayers
from frdiff.network.wrapped import Wrapped

__all__ = ["Carry", "sample_of"]

# What the methods are called that empty or make the cache of a VAE that has its own.
OWN_CACHE = re.compile(r"_*(clear|make)_\w*cache")


class Carry:
    """The past of a clip, by the name of the layer that needs it; and a VAE that decodes with it.

    Args:
        vae: decodes a chunk of latents as if those before it stood before, once this is attached.
        layers: of its decoder.
    """

    def __init__(self, vae: ModelMixin, layers: TimeLayers) -> None:
        self._vae = vae
        self._layers = layers
        self._own = _own_cache(vae)
        self._patches: list[Wrapped] = []
        self._begun = False
        self._past: dict[str, Any] = {}
        # Convolutions about to get a frame that only stands for the first one of the clip.
        self._leading: set[str] = set()

    def attach(self) -> None:
        """Wrap the layers, until `detach`; the VAE decodes nothing but by `decode`."""
        self._decode = self._vae.decode
        self.forget()
        try:
            self._wrap_all()
        except BaseException:
            self.detach()
            raise

    def detach(self) -> None:
        """Restore all that is wrapped, and forget."""
        for patch in reversed(self._patches):
            patch.restore()
        self.forget()

    def forget(self) -> None:
        """Begin a clip; a cache of the VAE's own is emptied or made anew."""
        self._past = {name: getattr(type(owner), name)(owner) for owner, name in self._own}
        self._leading = set()
        self._begun = False

    def decode(self, latents: Tensor) -> Tensor:
        """The frames of the next latents of the clip, without gradients."""
        with torch.no_grad():
            frames = sample_of(self._decode(latents))
        self._begun = True
        return frames

    def _wrap_all(self) -> None:
        self._wrap(self._vae, "decode", _refused)
        self._wrap(self._vae.decoder, "forward", self._decoder)
        if self._own:
            self._wrap(self._vae, "encode", _refused)
            for owner, name in self._own:
                self._wrap(owner, name, self._kept)
            return
        for name in self._layers.convolutions:
            self._wrap(self._vae.get_submodule(name), "_conv_forward", self._convolution, name)
        for name in self._layers.upsamplers:
            self._wrap(self._vae.get_submodule(name), "forward", self._upsampler, name)
        for name in self._layers.attentions:
            self._wrap(self._vae.get_submodule(name), "forward", self._attention, name)

    def _wrap(self, owner: nn.Module, method: str, make: Callable, name: str | None = None) -> None:
        wrapper = make(getattr(owner, method), method if name is None else name)
        self._patches.append(Wrapped(owner, method, wrapper))

    def _decoder(self, before: Callable, name: str) -> Callable:
        """The decoder, which begins a clip only once, nor drops frames but the first of it."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            if not self._begun:
                return before(*args, **kwargs)
            if "first_chunk" in kwargs:
                kwargs["first_chunk"] = False
            output = before(*args, **kwargs)
            dropped = self._layers.dropped
            if self._own or not dropped:
                return output
            frames, *rest = output if isinstance(output, tuple) else (output,)
            frames = torch.cat([frames[:, :, :1].expand(-1, -1, dropped, -1, -1), frames], 2)
            return (frames, *rest) if rest else frames

        return forward

    def _kept(self, before: Callable, name: str) -> Callable:
        return lambda *args, **kwargs: self._past[name]

    def _convolution(self, before: Callable, name: str) -> Callable:
        """A convolution whose input begins with the last frames of its input before."""
        reach = self._layers.convolutions[name]

        def convolve(x: Tensor, *parameters: Tensor | None) -> Tensor:
            leads = name in self._leading
            self._leading.discard(name)
            past = self._past.get(name)
            if past is not None:
                # The padding is a copy made for this convolution, and may be written over.
                x = x[:, :, 1:] if leads else x
                x[:, :, :reach] = past
            self._past[name] = x[:, :, -reach:].clone()
            y = before(x, *parameters)
            return torch.cat([y[:, :, :1], y], 2) if leads else y

        return convolve

    def _upsampler(self, before: Callable, name: str) -> Callable:
        """An upsampler whose special first frame, but in the first chunk, is one more, left out."""
        inner = self._layers.within(name)

        def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if not self._begun:
                return before(x, *args, **kwargs)
            self._leading |= inner
            return before(torch.cat([x[:, :, :1], x], 2), *args, **kwargs)[:, :, 1:]

        return forward

    def _attention(self, before: Callable, name: str) -> Callable:
        """An attention that sees the keys and values of the frames before, too."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            with _Remembering(self._past, name):
                return before(*args, **kwargs)

        return forward


class _Remembering(TorchFunctionMode):
    """Attention under a causal mask, to what it attended to before as well."""

    def __init__(self, past: dict[str, Any], name: str) -> None:
        super().__init__()
        self._past = past
        self._name = name

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        return self._attend(func, *args, **(kwargs or {}))

    def _attend(
        self,
        func: Callable,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        *rest: Any,
        **named: Any,
    ) -> Tensor:
        if attn_mask is None:
            return func(query, key, value, attn_mask, *rest, **named)
        if self._name in self._past:
            keys, values = self._past[self._name]
            shape = (*attn_mask.shape[:-1], keys.shape[-2])
            seen = attn_mask.new_full(shape, attn_mask.dtype == torch.bool)
            attn_mask = torch.cat([seen, attn_mask], -1)
            key, value = torch.cat([keys, key], -2), torch.cat([values, value], -2)
        self._past[self._name] = key, value
        return func(query, key, value, attn_mask, *rest, **named)


def sample_of(output: Any) -> Tensor:
    """The frames in what `decode` returns."""
    return output if isinstance(output, Tensor) else output.sample


def _refused(before: Callable, name: str) -> Callable:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"a stream of this VAE is open; leave it before you {name} with the VAE")

    return refuse


def _own_cache(vae: ModelMixin) -> list[tuple[nn.Module, str]]:
    """The methods of a VAE that empty, or make, a cache of its own; with whose they are."""
    owners = (vae, vae.decoder)
    return [(one, name) for one in owners for name in dir(type(one)) if OWN_CACHE.fullmatch(name)]

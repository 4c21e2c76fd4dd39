"""`frdiff app`: compare, choose and inspect in a browser."""

from typing import Annotated

import typer

from frdiff.cli.shared import Device, out


def app(
    model: Annotated[
        str, typer.Argument(help="A shipped model, or a folder of a diffusers pipeline.")
    ] = "emoji",
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65_535, help="Default: a free one from 7860 on."),
    ] = None,
    device: Device = "cpu",
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open a browser on it.")
    ] = True,
) -> None:
    """Compare policies, search for one and look into one, in a browser on this machine."""
    from frdiff.app.launching import launch

    launch(
        model, device, port, browser, lambda text: out.print(text, soft_wrap=True, highlight=False)
    )

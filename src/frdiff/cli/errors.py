"""Errors on the command line: one line each, and what is kept when somebody stops a command."""

import _thread
import errno
import shlex
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from frdiff.cli.shared import err

__all__ = ["STOPPED", "OneLineErrors", "resumable"]

# What shells give to a command that Ctrl-C ended.
STOPPED = 130
# Errors whose message says what is wrong; others need their name.
SPOKEN = (MemoryError, OSError, RuntimeError, TypeError, ValueError)
ARGUMENTS = "frdiff.arguments"
AGAIN = 0.05  # seconds


class OneLineErrors(TyperGroup):
    """Turns whatever is raised into one line, and exit status 1; 2 for a misuse of options."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """The context of a call; without arguments typer prints the help."""
        if not args:
            return super().make_context(info_name, args, parent, **extra)
        given = list(args)
        with _one_line():
            context = super().make_context(info_name, args, parent, **extra)
        context.meta[ARGUMENTS] = given
        return context

    def invoke(self, ctx: Any) -> Any:
        """What the command returns."""
        with _one_line(ctx.params.get("traceback", False)), _never_lost():
            return super().invoke(ctx)


@contextmanager
def resumable(context: typer.Context, kept: Path) -> Iterator[None]:
    """Let Ctrl-C end a command with one line that says where its work is and how to go on.

    Args:
        kept: the file or folder that the command writes as it goes.
    """
    try:
        yield
    except KeyboardInterrupt:
        done = f"what was measured is kept in {kept}" if kept.exists() else "nothing was measured"
        again = shlex.join(["frdiff", *context.meta[ARGUMENTS]])
        _say("yellow", "stopped", f"{done}; go on with: {again}")
        raise typer.Exit(STOPPED) from None


@contextmanager
def _never_lost() -> Iterator[None]:
    """Give a Ctrl-C again that came while Python ran a callback it takes no errors from.

    Such are those of weak references and finalizers, which tensors have many of: there, Python
    prints the interrupt and goes on.
    """
    before = sys.unraisablehook

    def again(lost: Any) -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            # Not from here: this function is one of those whose errors Python does not take.
            threading.Timer(AGAIN, _thread.interrupt_main).start()
        else:
            before(lost)

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before


@contextmanager
def _one_line(show_traceback: bool = False) -> Iterator[None]:
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        _say("yellow", "stopped", "by Ctrl-C")
        raise typer.Exit(STOPPED) from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            raise  # whoever read our output has gone: nobody to tell, and typer ends quietly
        if show_traceback:
            traceback.print_exc()
        _say("bold red", "error", _described(error))
        raise typer.Exit(getattr(error, "exit_code", 1)) from error


def _described(error: Exception) -> str:
    if hasattr(error, "format_message"):  # typer's own: options that are unknown, missing or bad
        context = getattr(error, "ctx", None)
        told = f"; see {context.command_path} --help" if context is not None else ""
        return error.format_message().rstrip(".") + told
    if isinstance(error, SPOKEN) and str(error).strip():
        return str(error)
    return f"{type(error).__name__}: {error}; FRDIFF_TRACEBACK=1 shows where it comes from"


def _say(style: str, kind: str, text: str) -> None:
    line = escape(" ".join(text.split()))
    err.print(f"[{style}]{kind}:[/] {line}", soft_wrap=True, highlight=False)

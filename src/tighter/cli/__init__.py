"""The command line: one file a command, and the one place where errors become lines."""

from __future__ import annotations

import gc
import io
import os
import sys
import warnings
from typing import Annotated

import typer

from tighter.cli._wording import in_options
from tighter.cli.compare import compare
from tighter.cli.diagnose import diagnose
from tighter.cli.dsep import dsep
from tighter.cli.evaluate import evaluate
from tighter.cli.impute import impute
from tighter.cli.info import info
from tighter.cli.report import report
from tighter.cli.reproduce import reproduce
from tighter.cli.sample import sample
from tighter.cli.topics import topics
from tighter.cli.train import train

app = typer.Typer(
    help="Latent-variable models trained by variational bounds.",
    epilog="Start with:  tighter train   (handwritten digits, under a minute)",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(asked: bool) -> bool:  # noqa: FBT001
    if asked:
        from tighter import __version__

        print(f"tighter {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version", callback=_tell_version)
    ] = False,
) -> None:
    """What holds for every command."""


for command in (
    train,
    evaluate,
    diagnose,
    compare,
    sample,
    impute,
    topics,
    report,
    reproduce,
    dsep,
    info,
):
    app.command(no_args_is_help=False)(command)


def main() -> None:
    """Run a command; a user's mistake is one line on stderr and exit status 2."""
    warnings.showwarning = _show_warning
    # A proof's signs may be none of the terminal's.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    gc.set_threshold(200_000, 20, 20)  # imports make many objects, and none of them is garbage
    try:
        status = app(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        status = 130
    except Exception as error:
        status = _complain_of(error)
        if _is_one_of_several():
            sys.modules["tighter.training.processes"].all_is_well()
            sys.stderr.flush()
            os._exit(status)  # JAX would wait for the others at its end
        sys.exit(status)
    if status == 130:  # Ctrl-C, of which the command had nothing to say itself
        print("stopped", file=sys.stderr)
    sys.exit(status if isinstance(status, int) else 0)


def _is_one_of_several() -> bool:
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()


def _complain_of(error: Exception) -> int:
    """The line for a mistake of the user's or the machine's; anything else is our own fault."""
    from tighter._errors import InputError, NonFiniteError, PeerError
    from tighter._extras import missing_extra

    # What the command line's parser raises: its classes are not part of typer's surface.
    usage = getattr(error, "format_message", None)
    if usage is not None:
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context else ""
        return _complain(f"{_one_line(usage()) or 'a command is missing'}{hint}")
    known = InputError | NonFiniteError | PeerError | OSError | MemoryError | OverflowError
    exhausted = "RESOURCE_EXHAUSTED" in str(error)  # how XLA says that memory is
    missing = missing_extra(error.name) if isinstance(error, ModuleNotFoundError) else ""
    ours = not (exhausted or missing or isinstance(error, known))
    if ours or os.environ.get("TIGHTER_TRACEBACK"):
        raise error
    if exhausted or isinstance(error, MemoryError):
        return _complain(
            f"this takes more memory than there is ({_one_line(str(error)):.120}): fewer draws, a "
            "smaller batch or a smaller model take less"
        )
    if isinstance(error, OverflowError):
        return _complain(
            f"a number is too large ({_one_line(str(error)):.120}): give a smaller one"
        )
    if missing:
        return _complain(missing)
    if isinstance(error, OSError) and not isinstance(error, InputError):
        where = f": {error.filename}" if error.filename else ""
        return _complain(f"{error.strerror or error}{where}")
    return _complain(in_options(_one_line(str(error))) or type(error).__name__)


def _complain(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    print(f"warning: {_one_line(str(message))}", file=sys.stderr)

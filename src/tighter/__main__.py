"""python -m tighter, and the command `tighter`."""

import sys


def main() -> None:
    """Run a command, where what it needs is installed."""
    from tighter._errors import InputError
    from tighter._extras import check_installed

    try:
        check_installed("typer")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    from tighter.cli import main as run

    run()


if __name__ == "__main__":
    main()

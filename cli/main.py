"""The `geosoil` command: options in, one call of the library, results on stdout."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

# Command to (module, one line for --help), in the order of a user's work. The module is loaded when it is called.
COMMANDS = {
    "demo": ("demo", "Train and map the data that come with geosoil."),
    "info": ("info", "Explain a model, raster, sample table or study file."),
    "calibrate": ("calibrate", "Make a map-ready cube of a GF-5 or ZY-1 AHSI product."),
    "train": ("train", "Train the model of a study file."),
    "invert": ("invert", "Train a model of spectra: cube, samples, laboratory spectra."),
    "transfer": ("transfer", "Train a model of few samples with a spectral library."),
    "search": ("search", "Search a network for few samples and a library."),
    "compare": ("compare", "Compare models on the same folds."),
    "map": ("map", "Map a scene with one or more models."),
    "explain": ("explain", "Say why a model predicts what it predicts (SHAP)."),
    "predict": ("predict", "Predict the properties of a table of spectra."),
    "terrain": ("terrain", "Make covariates and streams from an elevation model."),
}


class Commands(click.Group):
    """Sub-commands that are imported only when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f".{COMMANDS[cmd_name][0]}", __package__).command
        for option in command.params:
            if isinstance(option, click.Option):
                # Named after what the user types, not after the function's argument.
                name = max(option.opts, key=len).lstrip("-")
                option.envvar = f"GEOSOIL_{cmd_name}_{name}".replace("-", "_").upper()
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """As click does, with the nearest name for a wrong one."""
        from difflib import get_close_matches

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"no command {args[0]!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table, so that --help imports nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from geosoil import __version__

        click.echo(f"geosoil {__version__}")
        ctx.exit()


@click.command(cls=Commands, context_settings={"max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
def group() -> None:
    """Soil samples and big rasters to soil maps that open in QGIS.

    \b
    A first map:
      geosoil demo out/
    Your own:
      geosoil train study.toml -o soc.gsm
      geosoil map soc.gsm covariates.tif maps/
    """


class _Terminated(BaseException):
    """SIGTERM came where no job listens."""


def _terminate(number: int) -> None:
    raise _Terminated


def main(args: list[str] | None = None) -> int:
    """Run the command line; returns or exits with the documented codes."""
    if hasattr(signal, "SIGPIPE"):
        # A closed pipe ends the command quietly.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    from geosoil.stops import handling

    with handling(_terminate, [signal.SIGTERM]):
        _main(args)


def _main(args: list[str] | None) -> NoReturn:
    verbose = any(arg == "-vv" for arg in (args if args is not None else sys.argv[1:]))
    from geosoil.errors import GeosoilError

    try:
        code = group.main(args=args, prog_name="geosoil", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except GeosoilError as error:
        click.echo(f"error: {error.render()}", err=True)
        if verbose:
            logging.getLogger("geosoil").exception("the error came from here")
        sys.exit(error.exit_code)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except _Terminated:
        click.echo("terminated", err=True)
        sys.exit(143)
    except MemoryError:
        click.echo("error: memory ran out [GS-MEMORY]\n  give a lower --max-memory or close other programs", err=True)
        sys.exit(6)


def run() -> NoReturn:
    """The command as it is installed: as `main`, and then out.

    Python would take its modules apart one by one first, a sixth of the time of a short command. What is registered for
    the end is done, and what was printed is flushed.
    """
    code: Any = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else code is not None)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    run()

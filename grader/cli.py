"""The command line: arguments become calls, results become an exit status.

0 full marks   1 not full marks   2 wrong usage or an unreadable submission
3 this machine cannot grade       4 the grader's own fault       130 interrupted with Ctrl-C
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import click

from grader import catalog
from grader.errors import GraderError, MachineError, UsageError, missing_package
from grader.text import printable

INTERRUPTED = 130
FORMS = ("text", "json", "html", "junit", "gradescope", "classroom")


_RUNTIME = click.option(
    "--runtime", metavar="NAME", default="", help="The engine's runtime for them, such as gVisor's runsc."
)


def _isolation(default: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(
        "--isolation",
        type=click.Choice(["none", "no-egress"]),
        default=default,
        show_default=True,
        help="no-egress: a submission's containers reach neither this machine nor the internet.",
    )


class _GradeByDefault(click.Group):
    """``exercise-04`` as the first word means ``grade exercise-04``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["grade", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=_GradeByDefault, subcommand_metavar="EXERCISE [OPTIONS] | COMMAND [OPTIONS]")
def app() -> None:
    """Grade the workbook's exercises.

    \b
    python -m grader exercise-04                    grade your work in exercises/04-…
    python -m grader exercise-04 -s alice.zip       grade somebody's submission
    python -m grader batch exercise-04 submissions  grade a whole class
    python -m grader grade --help                   all options of a grading
    """


@app.command(options_metavar="[OPTIONS]")
@click.argument("exercise")
@click.option(
    "--submission",
    "-s",
    type=click.Path(path_type=Path),
    help="A folder, .zip, .tar.gz or compose file. Default: the exercise's own folder.",
)
@click.option("--only", multiple=True, metavar="CHECK", help="Only this check; may be given several times.")
@click.option("--static", is_flag=True, help="Only the checks that need no Docker engine.")
@click.option("--keep", is_flag=True, help="Leave the stack running, to look around in it.")
@click.option("--timeout", type=click.FloatRange(min=1), metavar="S", help="Seconds, instead of the exercise's own.")
@_isolation("none")
@_RUNTIME
@click.option("--format", "-f", "form", type=click.Choice(FORMS), default="text", show_default=True)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write the report to this file.")
def grade(
    exercise: str,
    submission: Path | None,
    only: tuple[str, ...],
    static: bool,
    keep: bool,
    timeout: float | None,
    isolation: str,
    runtime: str,
    form: str,
    output: Path | None,
) -> None:
    """Grade one exercise (exercise-04, 04 or 04-health-checks)."""
    from grader import grading
    from grader.hints import remember
    from grader.progress import progress_on
    from grader.render import render
    from grader.request import Request
    from grader.rewrite import Isolation

    chosen = catalog.find(exercise)
    request = Request(chosen, submission or chosen.folder, only, static, keep, timeout, Isolation(isolation), runtime)
    if output is not None and not output.resolve().parent.is_dir():
        raise UsageError(f"There is no folder {output.resolve().parent} to write the report to.", "Make it first.")
    with progress_on(sys.stderr) as listener:
        outcome = grading.grade(request, listener)
    if submission is None and not only and not static:
        remember(outcome.report, chosen)
    text = render(outcome.report, form, to_terminal=output is None and sys.stdout.isatty())
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text, "utf-8")
        print(f"The report is in {output}.", file=sys.stderr)
    if outcome.kept_project:
        print(
            f"\nThe stack is still running. Look at it:  docker compose -p {outcome.kept_project} ps -a\n"
            f"Remove it:                               python -m grader clean --kept",
            file=sys.stderr,
        )
    click.get_current_context().exit(outcome.report.exit_status)


@app.command()
@click.argument("exercise")
@click.option(
    "--submission",
    "-s",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The folder you work in. Default: the exercise's own.",
)
def watch(exercise: str, submission: Path | None) -> None:
    """Grade one exercise again at each save, until you press q."""
    from grader.watch import session

    chosen = catalog.find(exercise)
    click.get_current_context().exit(session.watch(chosen, submission or chosen.folder))


@app.command()
@click.argument("exercise")
def hint(exercise: str) -> None:
    """One more hint on the first check that failed when you last graded the exercise."""
    from grader import hints

    print(hints.unfold(catalog.find(exercise)))


@app.command(options_metavar="[OPTIONS]")
@click.argument("exercise")
@click.argument("submissions", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default="results", show_default=True, help="Write everything here."
)
@click.option("--roster", type=click.Path(path_type=Path), help="CSV of the class: whose is which submission.")
@click.option(
    "--rubric", type=click.Path(path_type=Path), help="TOML: points, hidden checks, late policy, time budget."
)
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Gradings side by side on this machine.")
@click.option("--scheduler", metavar="ADDRESS", help="Grade on the Dask cluster of this scheduler, tcp://host:8786.")
@click.option(
    "--resume/--no-resume", default=True, show_default=True, help="Grade only what is new, changed or was never done."
)
@click.option("--only-student", multiple=True, metavar="KEY", help="Grade only this one, again. May be repeated.")
@click.option("--only-check", multiple=True, metavar="CHECK", help="Run only this check, again. May be repeated.")
@click.option("--timeout", type=click.FloatRange(min=1), metavar="S", help="Seconds for each, not the exercise's own.")
@_isolation("no-egress")
@_RUNTIME
def batch(
    exercise: str,
    submissions: Path,
    out: Path,
    roster: Path | None,
    rubric: Path | None,
    workers: int | None,
    scheduler: str | None,
    resume: bool,
    only_student: tuple[str, ...],
    only_check: tuple[str, ...],
    timeout: float | None,
    isolation: str,
    runtime: str,
) -> None:
    """Grade every submission in a folder, side by side.

    Type the same command again to go on after an interruption, or after some submissions have changed.
    """
    from grader.batch import command
    from grader.batch.desk import Wish

    if workers and scheduler:
        raise UsageError(
            "--workers is for this machine; the workers of --scheduler say themselves what they carry.",
            "Leave one of the two out.",
        )
    wish = Wish(
        exercise=catalog.find(exercise),
        submissions=submissions,
        roster=roster,
        rubric=rubric,
        again=not resume,
        students=only_student,
        checks=only_check,
        timeout=timeout,
        isolation=isolation,
        runtime=runtime,
    )
    click.get_current_context().exit(command.grade(wish, out, workers, scheduler))


@app.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--format", "-f", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def diff(old: Path, new: Path, form: str) -> None:
    """Whose score changed between two results folders of a batch, and why."""
    from grader.batch import command

    sys.stdout.write(command.compare(old, new, form, to_terminal=sys.stdout.isatty()))


@app.command("list")
@click.argument("exercise", required=False)
def list_exercises(exercise: str | None) -> None:
    """The exercises there are, or one exercise's checks."""
    if exercise:
        from grader.grading import checks_of

        for name, (title, points) in checks_of(catalog.find(exercise)).items():
            print(f"{name:45}{points:3g}  {title}")
        return
    for each in catalog.exercises():
        print(f"{each.name}  {each.key:24}{each.minutes:4} min  {each.title}")


@app.command()
def doctor() -> None:
    """What this machine has and lacks for grading."""
    from rich.console import Console

    from grader.setup import doctor as doctors

    findings = doctors.examine()
    Console().print(doctors.table(findings))
    if not doctors.can_grade(findings):
        raise MachineError("This machine cannot grade yet.", "Mend the lines marked above; make setup does most of it.")


@app.command()
def images() -> None:
    """Pull or build the images that the workbook needs."""
    from grader.engine.images import ensure

    for found in ensure(_say, everything=True):
        print(f"{found.image.tag:32}{found.state.value}")


@app.command()
def setup() -> None:
    """Set up what is missing: engine, secrets, images."""
    from grader.setup import run

    run(_say)


@app.command()
@click.option("--kept", is_flag=True, help="Also what --keep left running on purpose.")
def clean(kept: bool) -> None:
    """Remove what a killed grading left behind: its containers, networks, volumes and images."""
    from grader.engine import sweep
    from grader.engine.connection import connect

    swept = sweep.clean(connect(), kept_too=kept)
    if not swept.total:
        print("Nothing was left behind.")
        return
    counts = {name: count for name, count in vars(swept).items() if count}
    print(
        "Removed " + ", ".join(f"{count} {name[:-1] if count == 1 else name}" for name, count in counts.items()) + "."
    )


@app.command()
def schema() -> None:
    """The JSON schema of the reports that --format json writes."""
    import json

    from grader.results import schema as report_schema

    print(json.dumps(report_schema(), indent=2))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Run the command line and end with the exit status that says what happened."""
    try:
        status = app(prog_name="python -m grader", standalone_mode=False)
    except click.exceptions.Exit as done:
        status = done.exit_code
    except click.ClickException as error:
        error.show()
        status = 2
    except GraderError as error:
        _explain(error)
        status = error.exit_status
    except (KeyboardInterrupt, click.Abort):
        _say("\nInterrupted. Everything that was started has been removed again.")
        status = INTERRUPTED
    except BrokenPipeError:
        status = 1
    except ModuleNotFoundError as error:
        explained = missing_package(error)
        _explain(explained)
        status = explained.exit_status
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            status = _fault(error)
        else:
            _explain(MachineError(f"The disk is full: {error}.", "Make room on it, and do the same again."))
            status = MachineError.exit_status
    except Exception as error:  # whatever it is, it is not the student's fault, and says so
        status = _fault(error)
    _leave(int(status or 0))


def _fault(error: Exception) -> int:
    _say(printable(traceback.format_exc(), limit=20_000))
    _explain(GraderError(f"The grader has a fault of its own: {error!r}", "Please report it with the lines above."))
    return GraderError.exit_status


def _explain(error: GraderError) -> None:
    # Some of it may quote a submission.
    _say(printable(error.what))
    if error.fix:
        _say(printable(error.fix))


def _leave(status: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(status)

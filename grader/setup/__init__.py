"""The set-up: everything a machine needs to grade, each step quick when there is nothing to do."""

from __future__ import annotations

from collections.abc import Callable


def run(say: Callable[[str], None]) -> None:
    """Engine, secrets, images, in this order.

    Args:
        say: is given one line before each step that changes the machine.

    Raises:
        MachineError: this machine cannot grade; the fix has what to type.
    """
    # Imported here: `python3 -m grader.setup.engine` passes through this file before anything is installed.
    from grader.engine import images
    from grader.setup.engine import ensure_engine
    from grader.setup.profiles import choose_profiles
    from grader.setup.secrets import ROOT, ensure_secrets

    ensure_engine(say)
    for path in ensure_secrets():
        say(f"Made a random password: {path.relative_to(ROOT)}")
    present = [one.image.tag for one in images.ensure(say) if one.state is not images.State.MISSING]
    has_grafana = any(tag.startswith("grafana/") for tag in present)
    if choose_profiles(ROOT, has_grafana):
        say(f"Grafana will {'' if has_grafana else 'not '}be part of the stack (COMPOSE_PROFILES in .env).")

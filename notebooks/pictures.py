"""The lessons' pictures: what was measured on the live engine, drawn. Pure: data in, a `Picture` out.

Every picture has a ground of its own, so that it is as readable in a dark theme, and says in words what it shows.
"""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import zip_longest
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from grader.events import Event

# Okabe and Ito's colours: they stay apart for colour-blind eyes. Each line and bar is also labelled in words.
BLUE, ORANGE, GREEN, RED, SKY, YELLOW = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#9ccbe8", "#f0c566"
LINES = (BLUE, ORANGE, GREEN, RED, "#cc79a7", "#56b4e9")


@dataclass(frozen=True)
class Picture:
    """A picture that a notebook shows: as SVG, and in words where there are no pictures."""

    svg: str
    words: str

    def _repr_html_(self) -> str:
        source = b64encode(self.svg.encode()).decode()
        return f'<img style="max-width:100%" alt="{escape(self.words)}" src="data:image/svg+xml;base64,{source}">'

    def __repr__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Diagram:
    """Boxes and arrows in Mermaid's language, which JupyterLab draws; and the same in words."""

    mermaid: str
    words: str

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/vnd.mermaid": self.mermaid, "text/plain": self.words}

    def __repr__(self) -> str:
        return self.words


# --- the stack ----------------------------------------------------------------------------------


def topology(model: Mapping[str, Any], title: str = "") -> Diagram:
    """Who is there, who waits for whom, who shares a network and who has which volume.

    Args:
        model: what ``docker compose config --format json`` prints.
    """
    drawn: list[str] = []
    words: list[str] = []
    services: Mapping[str, Any] = model.get("services") or {}
    ids = {name: f"s{number}" for number, name in enumerate(services)}
    for name, service in services.items():
        ports = [f"{port.get('host_ip', '')}:{port.get('published', 'any')}" for port in service.get("ports") or []]
        label = f"<b>{_text(name)}</b>" + "".join(f"<br/>host {_text(port)}" for port in ports)
        drawn.append(f'{ids[name]}["{label}"]:::service')
        words.append(f"service {name}" + (f", on the host at {', '.join(ports)}" if ports else ""))
        for other, how in (service.get("depends_on") or {}).items():
            condition = str(how.get("condition", "service_started")).removeprefix("service_").replace("_", " ")
            if other in ids:
                drawn.append(f'{ids[name]} -->|"waits: {_text(condition)}"| {ids[other]}')
            words.append(f"{name} waits until {other} is {condition}")
    for number, network in enumerate(model.get("networks") or {}):
        members = [name for name, service in services.items() if network in (service.get("networks") or {})]
        internal = " (internal)" if (model["networks"][network] or {}).get("internal") else ""
        if members:
            drawn.append(f'n{number}{{{{"network {_text(network)}{internal}"}}}}:::network')
            drawn += [f"{ids[name]} --- n{number}" for name in members]
            words.append(f"network {network}{internal}: {', '.join(members)}")
    for number, volume in enumerate(model.get("volumes") or {}):
        mounts = [
            (name, mount)
            for name, service in services.items()
            for mount in service.get("volumes") or []
            if mount.get("type") == "volume" and mount.get("source") == volume
        ]
        if mounts:
            drawn.append(f'v{number}[("volume {_text(volume)}")]:::volume')
        for name, mount in mounts:
            drawn.append(f'{ids[name]} -.-|"{_text(mount["target"])}"| v{number}')
            words.append(f"volume {volume} is {mount['target']} in {name}")
    # Fixed colours, readable on a white and on a dark ground: a diagram stays as it was drawn when the theme changes.
    lines = {"lineColor": "#808080", "edgeLabelBackground": "#e8e8e8", "textColor": "#222"}
    look = "%%{init: " + json.dumps({"theme": "base", "themeVariables": lines}) + "}%%\n"
    styles = [
        f"classDef service fill:{SKY},stroke:{BLUE},color:#111",
        f"classDef network fill:{YELLOW},stroke:{ORANGE},color:#111",
        "classDef volume fill:#cfe8d5,stroke:#009e73,color:#111",
    ]
    heading = [f"accTitle: {title}"] if title else []
    return Diagram(look + "\n    ".join(["flowchart LR", *heading, *drawn, *styles]), "\n".join(words))


def _text(text: str) -> str:
    """What is safe between quotes in Mermaid."""
    return escape(str(text)).replace("&#x27;", "'")


# --- what was measured --------------------------------------------------------------------------


def latencies(groups: Mapping[str, Sequence[float]], title: str = "How long an answer took") -> Picture:
    """One dot a request, on a scale where each line is ten times the one before.

    Args:
        groups: a name -> milliseconds, such as {"computed": […], "from the cache": […]}.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, axes = _figure(title, height=0.9 + 0.7 * len(groups))
    for row, values in enumerate(groups.values()):
        # Dots in three thin lanes, so that equal values are not hidden behind each other.
        lanes = [row + 0.12 * (number % 3 - 1) for number in range(len(values))]
        axes.plot(values, lanes, "o", ms=5, alpha=0.6, color=LINES[row % len(LINES)])
        middle = median(values)
        axes.plot([middle, middle], [row - 0.35, row + 0.35], color="#222", lw=2)
        axes.annotate(f"median {middle:.3g} ms", (middle, row + 0.4), ha="center", va="bottom", fontsize=9)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("milliseconds")
    axes.set_yticks(range(len(groups)), [f"{name} ({len(values)})" for name, values in groups.items()])
    axes.set_ylim(-0.6, len(groups) - 0.2)
    axes.grid(axis="x", which="both", alpha=0.25)
    words = [f"{name}: median {median(v):.3g} ms, {len(v)} requests" for name, v in groups.items()]
    return _picture(figure, title, words)


def bars(values: Mapping[str, float], title: str, unit: str) -> Picture:
    """A bar for each, with its number: requests per replica, for example."""
    figure, axes = _figure(title, height=0.9 + 0.35 * len(values))
    drawn = axes.barh(list(values), list(values.values()), color=BLUE, height=0.6)
    axes.bar_label(drawn, [f"{value:.4g}" for value in values.values()], padding=4)
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.margins(x=0.12)
    return _picture(figure, title, [f"{name}: {value:.4g} {unit}" for name, value in values.items()])


def curve(points: Mapping[float, float], title: str, x: str, y: str) -> Picture:
    """How one number follows another: throughput against replicas, for example.

    Args:
        points: position -> value.
        x: what the positions are, with their unit.
        y: what the values are, with their unit.
    """
    figure, axes = _figure(title, height=2.8)
    axes.plot(list(points), list(points.values()), "o-", color=BLUE, lw=2)
    for at, value in points.items():
        axes.annotate(f"{value:.3g}", (at, value), textcoords="offset points", xytext=(0, 7), ha="center", fontsize=9)
    axes.set_xticks(list(points))
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_ylim(0, max(points.values(), default=1) * 1.2)
    axes.grid(alpha=0.25)
    return _picture(figure, title, [f"{at:g} {x}: {value:.3g} {y}" for at, value in points.items()])


def series(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    title: str,
    unit: str,
    limit: tuple[str, float] | None = None,
) -> Picture:
    """Values over time: memory up to its limit, or what a PromQL range query answers.

    Args:
        lines: a name -> (seconds, value) pairs; the first of all is drawn at 0 s.
        limit: a name and a value, drawn as a line across.
    """
    zero = min((at for points in lines.values() for at, _ in points), default=0.0)
    figure, axes = _figure(title, height=2.8)
    words: list[str] = []
    for number, (name, points) in enumerate(lines.items()):
        style = ("-", "--", ":", "-.")[number % 4]
        axes.plot(
            [at - zero for at, _ in points], [value for _, value in points],
            style, color=LINES[number % len(LINES)], lw=2, label=name,
        )  # fmt: skip
        if points:
            (_, first), (end, last) = points[0], points[-1]
            words.append(f"{name}: {first:.4g} {unit} at first, {last:.4g} {unit} after {end - zero:.0f} s")
    if limit:
        axes.axhline(limit[1], color=RED, lw=1.5, ls="--")
        axes.annotate(f"{limit[0]}: {limit[1]:.4g} {unit}", (0.01, limit[1]), xycoords=("axes fraction", "data"),
                      textcoords="offset points", xytext=(0, 4), color=RED)  # fmt: skip
        words.append(f"{limit[0]}: {limit[1]:.4g} {unit}")
        axes.margins(y=0.18)
    axes.set_xlabel("seconds")
    axes.set_ylabel(unit)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=9)
    return _picture(figure, title, words)


def _figure(title: str, height: float) -> tuple[Any, Axes]:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10}):
        figure = Figure(figsize=(7.6, height + 0.5), layout="constrained", facecolor="white")
        axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold")
    return figure, axes


def _picture(figure: Any, title: str, words: Sequence[str]) -> Picture:
    from matplotlib import rc_context

    drawn = io.StringIO()
    # Letters stay letters: a third of the size, and the browser's own font.
    with rc_context({"svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(drawn, format="svg")
    return Picture(drawn.getvalue(), "\n".join([title, *words]))


# --- the picture of a start ---------------------------------------------------------------------

COLOURS = {"starting": YELLOW, "healthy": GREEN, "unhealthy": RED, "running": SKY}
WIDTH, LEFT, RIGHT, ROW, BAR = 760, 130, 90, 30, 18


def timeline(runs: Mapping[str, Sequence[Event]]) -> Picture:
    """Runs of a project below each other, on the same scale: who ran when, and was healthy from when on.

    Time 0 of each run is its first event. A bar that reaches the right edge has not ended.

    Args:
        runs: a title -> the events of that run, as ``Lab.events`` returns them.
    """
    length = max((e.at - events[0].at for events in runs.values() for e in events), default=0.0)
    seconds = max(length * 1.15, 1.0)
    scale = (WIDTH - LEFT - RIGHT) / seconds
    drawn: list[str] = []
    words: list[str] = []
    y = 8
    for title, events in runs.items():
        y += 22
        drawn.append(f'<text x="12" y="{y}" font-weight="600">{escape(title)}</text>')
        y += 10
        for service in sorted({e.service for e in events}):
            bars = _bars([e for e in events if e.service == service], events[0].at, seconds)
            drawn.append(f'<text x="{LEFT - 10}" y="{y + 14}" text-anchor="end">{escape(service)}</text>')
            drawn += _drawn(bars, y, scale)
            words += [f"{title}: {service} is {bar.words()}" for bar in bars]
            y += ROW
        y += 6
    step = next((s for s in (0.5, 1, 2, 5, 10, 20, 60) if seconds / s <= 9), 600)
    grid = [
        f'<line x1="{x:.1f}" y1="40" x2="{x:.1f}" y2="{y}" stroke="#e3e3e3"/>'
        f'<text x="{x:.1f}" y="{y + 16}" text-anchor="middle" fill="#555">{tick * step:g} s</text>'
        for tick in range(int(seconds / step) + 1)
        for x in [LEFT + tick * step * scale]
    ]
    svg = (
        f'<svg viewBox="0 0 {WIDTH} {y + 26}" width="{WIDTH}" style="max-width:100%;height:auto" role="img" '
        f'xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="13" fill="#222">'
        f"<title>{escape('; '.join(words))}</title>"
        # A ground of its own: the picture is as readable in JupyterLab's dark theme.
        f'<rect width="{WIDTH}" height="{y + 26}" rx="6" fill="#fff"/>{"".join(grid)}{"".join(drawn)}</svg>'
    )
    return Picture(svg, "\n".join(words))


@dataclass(frozen=True)
class _Bar:
    """A stretch of time that a service spent in one state; ``ending`` stands behind it, such as "exit 1"."""

    state: str
    start: float
    end: float
    ending: str = ""

    def words(self) -> str:
        return f"{self.state} from {self.start:.1f} s to {self.end:.1f} s {self.ending}".rstrip()


def _drawn(bars: Sequence[_Bar], y: int, scale: float) -> Iterator[str]:
    """The bars of one row as SVG, with as many words as there is room for."""
    for bar, following in zip_longest(bars, bars[1:]):
        x, width = LEFT + bar.start * scale, max((bar.end - bar.start) * scale, 4)
        yield f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2" fill="{COLOURS[bar.state]}"/>'
        if width > 9 * len(bar.state):
            ink = "#fff" if bar.state in ("healthy", "unhealthy") else "#222"
            yield f'<text x="{x + 6:.1f}" y="{y + 13}" font-size="12" fill="{ink}">{bar.state}</text>'
        if bar.ending and (following is None or (following.start - bar.end) * scale > 50):
            yield f'<text x="{x + width + 5:.1f}" y="{y + 13}" font-size="12">{escape(bar.ending)}</text>'


def _bars(events: Sequence[Event], zero: float, seconds: float) -> list[_Bar]:
    """The events of one service as bars; ``zero`` is when the run began, ``seconds`` how long the picture is."""
    probed = any(e.action in ("healthy", "unhealthy") for e in events)
    bars: list[_Bar] = []
    state, since = "", 0.0
    for event in events:
        at = event.at - zero
        if state and event.action in ("die", "healthy", "unhealthy"):
            ending = f"exit {event.exit_code}" if event.action == "die" else ""
            bars.append(_Bar(state, since, at, ending))
        match event.action:
            case "start":
                state, since = ("starting" if probed else "running"), at
            case "healthy" | "unhealthy":
                state, since = event.action, at
            case "die":
                state = ""
    if state:
        bars.append(_Bar(state, since, seconds))
    return bars

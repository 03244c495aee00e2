"""What a lesson's cells showed when it ran, for the claims that its text makes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nbformat import NotebookNode

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Shown:
    """What each code cell printed or drew, in words, by the cell's id."""

    cells: Mapping[str, str]

    @classmethod
    def by(cls, notebook: NotebookNode) -> Shown:
        """By a notebook that has been run."""
        return cls({cell.id: "".join(map(_words, cell.outputs)) for cell in notebook.cells if cell.cell_type == "code"})

    def text(self, cell: str) -> str:
        """All that the cell showed."""
        return self.cells[cell]

    def has(self, cell: str, *patterns: str) -> None:
        """Each pattern is found in what the cell showed; ``^`` and ``$`` match at its lines."""
        for pattern in patterns:
            assert re.search(pattern, self.cells[cell], re.MULTILINE), f"{cell}: {pattern}\n{self.cells[cell]}"

    def lacks(self, cell: str, *patterns: str) -> None:
        """None of the patterns is found in it."""
        for pattern in patterns:
            assert not re.search(pattern, self.cells[cell], re.MULTILINE), f"{cell}: {pattern}\n{self.cells[cell]}"

    def number(self, cell: str, pattern: str) -> float:
        """The number that the pattern's first group finds."""
        found = re.search(pattern, self.cells[cell], re.MULTILINE)
        assert found, f"{cell}: {pattern}\n{self.cells[cell]}"
        return float(found[1])

    def span(self, cell: str, run: str, service: str, state: str) -> tuple[float, float]:
        """From when to when a timeline says that the service was in this state, in seconds."""
        bar = rf"^{re.escape(run)}: {service} is {state} from ([\d.]+) s to ([\d.]+) s"
        return self.number(cell, bar), self.number(cell, bar.replace(r"([\d.]+)", r"[\d.]+", 1))


def _words(output: NotebookNode) -> str:
    if output.output_type == "stream":
        return ESCAPES.sub("", output.text)
    if output.output_type == "error":
        return "\n".join(map(str, [output.ename, output.evalue]))
    # A picture and a diagram say in words what they show; a report is HTML and has no better words.
    html = output.data.get("text/html", "")
    return str(html if 'class="grading"' in html else output.data.get("text/plain", "")) + "\n"

"""Pictures of docs/commands/report.md, cut out of reports of fits: python docs/scripts/report_pictures.py.

The pages have the fits of docs/commands/fit.md; their figures are files here, in the colours of a light page on white.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from hardgrad_lab.drawing.palette import INK, LIGHT_PAGE, VARIABLES

COMMANDS = Path(__file__).parents[1] / "commands"
# The figures that are shown, by their titles in a report, and the names of their files.
FIGURES = {"Transfer curve": "curve", "Loss and visits by range": "ranges", "Prediction against truth": "errors"}


def figures(page: str) -> dict[str, str]:
    """Return the wide figures of a report as SVG files, by their titles."""
    found: dict[str, str] = {}
    for label, svg in re.findall(r'(?s)<svg role="img" aria-label="([^"]*)"(.*?</svg>)', page):
        found.setdefault(label, alone(svg))  # the first of two is the wide one
    return found


def alone(svg: str) -> str:
    """Return a figure of a page as a file, with the colours that the page's style sheet gives it."""
    for colour, variable in VARIABLES.items():
        svg = svg.replace(variable, "#1c2126" if colour == INK else colour)
    width, height = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)[0]
    svg = re.sub(r"font-family: [^;\"]+", "font-family: sans-serif", svg)
    svg = re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", svg)
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    ground = f'<rect width="{width}" height="{height}" fill="{LIGHT_PAGE}"/>'
    return re.sub(
        r"\s*>", f' {spaces} width="{width}" height="{height}" fill="#1c2126">{ground}', "<svg" + svg, count=1
    )


def script(page: Path, name: str) -> str:
    """Return the program that a page writes to a file of that name."""
    (text,) = re.findall(rf"cat > {name} <<'END'\n(.*?)\nEND\n", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return text


def main() -> None:
    """Fit the two tables, and write the figures."""
    with tempfile.TemporaryDirectory() as folder:
        fits = {"bills": ["--key", "kwh", "--branch", "linear"], "line": []}
        for name, options in fits.items():
            where = COMMANDS / ("fit.md" if name == "bills" else "report.md")
            subprocess.run([sys.executable, "-c", script(where, f"{name}.py")], cwd=folder, check=True)
            command = [sys.executable, "-m", "hardgrad_lab.cli", "fit", f"{name}.csv", "--target", "cost", *options]
            subprocess.run([*command, "--out", name], cwd=folder, check=True)
            page = (Path(folder) / name / "report.html").read_text(encoding="utf-8")
            for title, file in FIGURES.items():
                if name == "bills" or file == "curve":
                    svg = figures(page)[title]
                    (COMMANDS / "pictures" / f"fit-{name}-{file}.svg").write_text(svg + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

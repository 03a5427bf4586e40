"""Look at report pages in a real browser: not a test of the suite, run by hand.

    AXE=/path/to/axe.min.js CHROMIUM=/usr/bin/chromium python tests/lab/look.py OUT page.html [more.html ...]

It needs Playwright (``pip install playwright``), a Chromium and axe-core (``npm pack axe-core``); nothing else in this
repository does. Each page is opened at 1280 and at 390 px, light and dark, with everything folded opened. It saves a
picture of each to OUT and prints what breaks a law: a violation that axe finds, a page wider than its window, letters
under ``LEAST`` px as rendered, a contrast under ``CONTRAST`` of text in a figure with what is painted behind it, text
that a figure's edge cuts or that lies on other text, an error on the console. The exit status is 1 if there was any.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

WIDTHS = (1280, 390)
SCHEMES = ("light", "dark")
LEAST = 10.0  # px
SLICE = 6000  # px of one picture: a browser refuses far taller ones
CONTRAST = 4.5  # WCAG 2.2, 1.4.3

# The colour behind a letter is that of the filled shapes drawn before it at its middle, over the page's own.
MEASURE = """
() => {
  const found = {overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
                 small: [], faint: [], cut: [], crossed: []};
  const parse = text => {
    const parts = (text.match(/[\\d.]+/g) || []).map(Number);
    return parts.length < 3 ? null : [...parts.slice(0, 3), parts.length > 3 ? parts[3] : 1];
  };
  const over = (top, under, alpha) => top.slice(0, 3).map((v, i) => v * alpha + under[i] * (1 - alpha));
  const linear = v => v <= 10.31475 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4;
  const light = c => .2126 * linear(c[0]) + .7152 * linear(c[1]) + .0722 * linear(c[2]);
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
  const page = parse(getComputedStyle(document.body).backgroundColor);
  const say = (node, value) => `${value.toFixed(2)}: ${node.textContent.trim().slice(0, 40)}`;
  for (const svg of document.querySelectorAll('figure svg')) {
    const leaves = [...svg.querySelectorAll('text')].filter(n => n.textContent.trim());
    const boxes = leaves.map(n => n.getBoundingClientRect());
    const flat = leaves.map(n => Math.abs(n.getScreenCTM().b) < 1e-3);
    for (let i = 0; i < leaves.length; i++) for (let j = i + 1; j < leaves.length; j++) {
      if (flat[i] && flat[j] && Math.min(boxes[i].right, boxes[j].right) - Math.max(boxes[i].left, boxes[j].left) > 1
          && Math.min(boxes[i].bottom, boxes[j].bottom) - Math.max(boxes[i].top, boxes[j].top) > 5)
        found.crossed.push(leaves[i].textContent.trim() + ' | ' + leaves[j].textContent.trim());
    }
    const shapes = [...svg.querySelectorAll('path, text, use, image, rect')].filter(n => !n.closest('defs, clipPath'));
    const frame = svg.getBoundingClientRect();
    if (!frame.width) continue;
    shapes.forEach((node, place) => {
      if (node.tagName !== 'text' || !node.textContent.trim()) return;
      const style = getComputedStyle(node), matrix = node.getScreenCTM(), box = node.getBoundingClientRect();
      const size = parseFloat(style.fontSize) * Math.hypot(matrix.c, matrix.d);
      if (size < LEAST - .05) found.small.push(say(node, size));
      if (box.left < frame.left - 2 || box.right > frame.right + 2
          || box.top < frame.top - 2 || box.bottom > frame.bottom + 2)
        found.cut.push(node.textContent.trim());
      const x = (box.left + box.right) / 2, y = (box.top + box.bottom) / 2;
      let behind = page.slice(0, 3);
      for (const other of shapes.slice(0, place)) {
        if (other.tagName === 'text') continue;
        const there = other.getBoundingClientRect();
        if (x < there.left || x > there.right || y < there.top || y > there.bottom) continue;
        const s = getComputedStyle(other), fill = parse(s.fill);
        if (!fill || s.fill === 'none' || there.width < 4 || there.height < 4) continue;
        if (other.isPointInFill) {
          const p = new DOMPoint(x, y).matrixTransform(other.getScreenCTM().inverse());
          if (!other.isPointInFill(p)) continue;
        }
        behind = over(fill, behind, fill[3] * parseFloat(s.fillOpacity) * parseFloat(s.opacity));
      }
      const own = parse(style.fill);
      const seen = over(own, behind, own[3] * parseFloat(style.opacity) * parseFloat(style.fillOpacity));
      const contrast = ratio(seen, behind);
      if (contrast < CONTRAST) found.faint.push(say(node, contrast));
    });
  }
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement;
    if (!node.textContent.trim() || parent.closest('svg, style, script, audio') || !parent.checkVisibility()) continue;
    const size = parseFloat(getComputedStyle(parent).fontSize);
    if (size < LEAST) found.small.push(say(node, size));
  }
  return found;
}
"""


async def look(browser: Any, path: Path, width: int, scheme: str, axe: str, out: Path) -> list[str]:
    """Return what breaks a law on one page at one width in one scheme, and save its picture."""
    context = await browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = await context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(f"console: {message.text}") if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(f"page error: {error}"))
    await page.goto(path.resolve().as_uri())
    name = f"{path.parent.name}-{path.stem}-{width}-{scheme}"
    height = await page.evaluate("document.documentElement.scrollHeight")
    for part, top in enumerate(range(0, height, SLICE)):
        clip = {"x": 0, "y": top, "width": width, "height": min(SLICE, height - top)}
        mark = f"-{part + 1}" if height > SLICE else ""
        await page.screenshot(path=out / f"{name}{mark}.png", full_page=True, clip=clip)
    await page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    measure = MEASURE.replace("CONTRAST", str(CONTRAST)).replace("LEAST", str(LEAST))
    found = await page.evaluate(measure)
    if found["overflow"] > 0:
        said.append(f"{found['overflow']} px wider than the window")
    said_of = {"small": "letters in px", "faint": "contrast", "cut": "cut off", "crossed": "on each other"}
    for kind, words in said_of.items():
        if found[kind]:
            said.append(f"{len(found[kind])} of {words}: {'; '.join(dict.fromkeys(found[kind][:6]))}")
    await page.evaluate(axe)
    result = await page.evaluate("axe.run({resultTypes: ['violations']})")
    for violation in result["violations"]:
        where = ", ".join(str(node["target"][0]) for node in violation["nodes"][:3])
        said.append(f"axe {violation['id']} ({violation['impact']}), {len(violation['nodes'])} at {where}")
    await context.close()
    return [f"{name}: {each}" for each in dict.fromkeys(said)]


async def main(out: Path, pages: Sequence[Path]) -> int:
    """Look at each page and print what is wrong; return the exit status."""
    play_by_name: Any = import_module("playwright.async_api")  # by its name: no tool of this repository knows it
    axe = Path(os.environ["AXE"]).read_text(encoding="utf-8")
    out.mkdir(parents=True, exist_ok=True)
    wrong = 0
    async with play_by_name.async_playwright() as play:
        browser = await play.chromium.launch(executable_path=os.environ.get("CHROMIUM"), args=["--no-sandbox"])
        for path in pages:
            for width in WIDTHS:
                for scheme in SCHEMES:
                    for line in await look(browser, path, width, scheme, axe, out):
                        print(line)
                        wrong += 1
        await browser.close()
    print(f"{len(pages)} pages, {wrong} faults")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]), [Path(each) for each in sys.argv[2:]])))

"""Take screenshots of pages in a browser, wide and narrow, and check how they are laid out.

Elements of the header must not overlap, pages must not scroll sideways, and nothing may be reported
in the console. Needs the library playwright and the browser Chromium, whose path is `CHROMIUM`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

PAGES = (
    *("index", "install", "quick_start", "when_to_use", "user_guide", "outliers", "api"),
    *("api/generated/sklearn_einet.EinetDensity", "benchmarks", "auto_examples/index"),
    *("auto_examples/plot_one_model", "glossary", "changelog"),
)
SIZES = {"wide": (1400, 1000), "narrow": (390, 844)}

# Pairs of visible items of the header whose boxes overlap although neither contains the other.
OVERLAPS = """() => {
  const items = [...document.querySelectorAll('.bd-header a, .bd-header button, .bd-header .title')]
    .filter(e => e.checkVisibility({visibilityProperty: true, opacityProperty: true}))
    .filter(e => e.getBoundingClientRect().width && e.getBoundingClientRect().height);
  const found = [];
  for (const [i, a] of items.entries()) for (const b of items.slice(i + 1)) {
    if (a.contains(b) || b.contains(a)) continue;
    const p = a.getBoundingClientRect(), q = b.getBoundingClientRect();
    const x = Math.min(p.right, q.right) - Math.max(p.left, q.left);
    const y = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
    if (x > 1 && y > 1) found.push(`${a.innerText.trim()} / ${b.innerText.trim()}`);
  }
  return found;
}"""
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def problems(page: Page, address: str, picture: Path) -> list[str]:
    """Open a page, take its screenshot, and return what is wrong with it."""
    reported: list[str] = []
    # What lies on other sites cannot be loaded where there is no network.
    page.on("console", lambda m: reported.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: reported.append(str(error)))
    page.goto(address)
    page.screenshot(path=picture)
    found = [f"overlap in the header: {pair}" for pair in page.evaluate(OVERLAPS)]
    if (pixels := page.evaluate(SIDEWAYS)) > 0:
        found.append(f"scrolls sideways by {pixels} pixels")
    if not page.locator(".search-button:visible").count():
        found.append("has no visible button to search")
    return found + [f"console: {text}" for text in reported if "net::ERR" not in text]


def main() -> int:
    """Visit every page in every size."""
    root, target = (Path(argument).resolve() for argument in sys.argv[1:3])
    target.mkdir(parents=True, exist_ok=True)
    n_problems = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        for size, (width, height) in SIZES.items():
            for name in PAGES:
                page = browser.new_page(viewport={"width": width, "height": height})
                picture = target / f"{name.replace('/', '_')}_{size}.png"
                found = problems(page, (root / f"{name}.html").as_uri(), picture)
                n_problems += len(found)
                print(f"{name}, {width} pixels: {'; '.join(found) or 'fine'}", flush=True)
                page.close()
        browser.close()
    print(f"screenshots: {len(PAGES) * len(SIZES)} in {target}, {n_problems} problems")
    return int(n_problems > 0)


if __name__ == "__main__":
    sys.exit(main())

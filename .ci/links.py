"""Check every link inside the built documentation: the file is there, and has the anchor."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """Collects the links, sources and anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag links to, and the anchors that it sets."""
        values = {name: value or "" for name, value in attrs}
        self.links += [values[name] for name in ("href", "src") if name in values]
        self.anchors |= {values[name] for name in ("id", "name") if name in values}


@cache
def page(path: Path) -> Page:
    """Return a page, read once."""
    return Page(path.read_text())


def pages(root: Path) -> list[Path]:
    """Return the pages of a built site; templates of the theme are none."""
    return sorted(p for p in root.rglob("*.html") if "_static" not in p.relative_to(root).parts)


def broken(root: Path, paths: list[Path]) -> Iterator[str]:
    """Yield the links of pages that lead nowhere."""
    for path in paths:
        for link in page(path).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                yield f"{path.relative_to(root)}: {link} is missing"
                continue
            anchor = unquote(parts.fragment)
            if anchor and target.suffix == ".html" and anchor not in page(target).anchors:
                yield f"{path.relative_to(root)}: {link} has no such anchor"


def main() -> int:
    """Print the broken links of a built site."""
    root = Path(sys.argv[1]).resolve()
    paths = pages(root)
    found = list(broken(root, paths))
    print("\n".join([*found, f"links: {len(paths)} pages, {len(found)} broken links"]))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())

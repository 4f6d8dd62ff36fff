"""Find words that `words.txt` advises against, in pages, docstrings, comments and messages."""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from readme import ROOT, checkout_files

PROSE = {".md", ".rst"}
# What readers do not read as English: code, math, links, and names in backticks.
FENCED = re.compile(
    r"^(?P<mark>```+|~~~+)(?!\{(?:note|tip|warning|admonition|seealso|glossary|card|grid)).*?^(?P=mark)",
    re.M | re.S,
)
INLINE = re.compile(r"(`+)[^`]+?\1|\]\([^)]*\)|<[^>]+>|https?://\S+|^\s*(>>>|\.\.\.) .*$", re.M)


@cache
def advice() -> list[tuple[re.Pattern[str], str]]:
    """Return the words to avoid, each with what to write instead."""
    lines = (ROOT / ".ci" / "words.txt").read_text().splitlines()
    pairs = (line.split(" -> ") for line in lines if line and not line.startswith("#"))
    # A phrase may run over the end of a line.
    return [(re.compile(w.replace(" ", r"\s+"), re.IGNORECASE), instead) for w, instead in pairs]


def blanked(text: str, *patterns: re.Pattern[str]) -> str:
    """Return a text with all matches blanked out; lines keep their numbers."""
    for pattern in patterns:
        text = pattern.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    return text


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the passages of English in a file, each with the number of its first line."""
    text = path.read_text()
    if path.suffix in PROSE:
        yield 1, blanked(text, FENCED, INLINE)
        return
    comments = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in comments and (token.type != tokenize.STRING or " " in token.string):
            yield token.start[0], blanked(token.string, INLINE)


def findings(path: Path) -> Iterator[str]:
    """Yield every word of a file that is advised against."""
    for first, passage in prose(path):
        for pattern, instead in advice():
            for match in pattern.finditer(passage):
                line = first + passage.count("\n", 0, match.start())
                yield f"{path.relative_to(ROOT)}:{line}: {match[0]!r} (write: {instead})"


def main() -> int:
    """Print the findings of the files given, or of all that git knows."""
    paths = [(ROOT / name).resolve() for name in sys.argv[1:] or checkout_files()]
    read = [p for p in paths if p.is_file() and p.suffix in PROSE | {".py", ".pyi"}]
    found = [line for path in read if path.name != "words.py" for line in findings(path)]
    print("\n".join([*found, f"words: {len(read)} files, {len(found)} findings"]))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())

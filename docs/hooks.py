"""What ``mkdocs build`` does beyond its settings: pages from files that lie outside ``docs/``.

README is the home page, the guide to SCI lives in the package, a room of the API is the page of its
module, and any other file of the repository that a page links to is carried along. So links are
written as a code host follows them, and hold in the site too. Nothing here imports the package.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
HOMES = {
    "README.md": "index.md",
    "gsto_viz/guide/how_to_read_sci.md": "how_to_read_sci.md",
    "gsto_viz/weights/README.md": "weights.md",
}
"""By file of the repository, the page that it is."""
LINK = re.compile(r"""(\]\(|(?:src|href)=")([^)"\s#:]+)(?=[)"#\s])""")
"""A relative link in Markdown or HTML: what stands before it, and its path."""
FENCE = re.compile(r"^( *)```.*?^\1```$", re.M | re.S)
ROOM = "::: {}\n"


def page_of(path: str) -> str:
    """Return the place in the site of a file of the repository."""
    if path in HOMES:
        return HOMES[path]
    room = re.fullmatch(r"gsto_viz/(\w+?)(?:/__init__)?\.py", path)
    if room:
        return f"api/{room[1]}.md"
    return path.removeprefix("docs/") if path.startswith("docs/") else f"repository/{path}"


def links(path: str, text: str) -> Iterator[tuple[re.Match[str], str]]:
    """Yield the links of a page that lead to a file of the repository, and that file."""
    code = [match.span() for match in FENCE.finditer(text)]
    for match in LINK.finditer(text):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), match[2]))
        inside = any(begin <= match.start() < end for begin, end in code)
        if not inside and not target.startswith("..") and (ROOT / target).is_file():
            yield match, target


def rewritten(path: str, text: str) -> str:
    """Return the text of a page with its links as they are in the site."""
    here = posixpath.dirname(page_of(path)) or "."
    parts, at = [], 0
    for match, target in links(path, text):
        parts += [text[at : match.start(2)], posixpath.relpath(page_of(target), here)]
        at = match.end(2)
    return "".join([*parts, text[at:]])


def sources() -> list[str]:
    """Return every file of the repository that the site holds beside the rooms of the API."""
    found = [*HOMES, *(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.*"))]
    for path in found:
        if path.endswith(".md"):
            targets = {target for _, target in links(path, (ROOT / path).read_text("utf-8"))}
            found += sorted(targets - set(found))
    return [path for path in found if not path.endswith(".py")]


def on_files(files: Any, *, config: Any) -> Any:
    """Add what lies outside ``docs/``; the rooms of the API are those of the navigation."""
    from mkdocs.structure.files import File

    for path in sources():
        if not path.startswith("docs/"):
            files.append(File.generated(config, page_of(path), abs_src_path=str(ROOT / path)))
    for entry in next(part["API"] for part in config.nav if "API" in part):
        ((name, page),) = entry.items()
        if page not in files.src_uris:
            text = f"# {name}\n\n{ROOM.format(name)}"
            files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Turn links of the repository into links of the site."""
    uri = page.file.src_uri
    path = next((path for path in sources() if page_of(path) == uri), None)
    return markdown if path is None else rewritten(path, markdown)


def on_post_build(*, config: Any) -> None:
    """Take away what only a server could use: its links begin at the root of a host."""
    for name in ("404.html", "sitemap.xml", "sitemap.xml.gz"):
        (Path(config.site_dir) / name).unlink(missing_ok=True)

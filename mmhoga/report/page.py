"""The pieces of a self-contained HTML page: no script, no font, no address outside of it.

Whatever a function takes as text is escaped. What it takes as ``html`` or ``svg`` was made by these functions or by the
drawings and plots.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

_CSS = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --paper: #ffffff; --plate: #f5f6f8;
  --rule: #dde1e7; --mark: #1b66b3; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ee; --soft: #9ba5b3; --paper: #14171c; --plate: #1c2027; --rule: #2f353f; --mark: #5aa2ea; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; color: var(--ink); background: var(--paper);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 80px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .6em; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 3em 0 .3em; padding-top: .7em; border-top: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 2em 0 .4em; }
p { margin: .5em 0; max-width: 46em; }
.lead { font-size: 1.15rem; line-height: 1.5; }
.soft, figcaption { color: var(--soft); font-size: .9rem; }
figure { margin: 1.2em 0; }
figcaption { max-width: 46em; margin-top: .5em; }
.scroll { overflow-x: auto; }
figure svg { display: block; max-width: 100%; height: auto; }
.wide svg, .medium svg { width: 100%; }
.medium svg { max-width: 580px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 8px 32px; }
.pair h3 { margin-top: 1em; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; font-variant-numeric: tabular-nums; margin: 1em 0; }
th, td { text-align: left; padding: .5em .9em .5em 0; border-bottom: 1px solid var(--rule); vertical-align: baseline; }
thead th { color: var(--soft); font-weight: 600; font-size: .85rem; border-bottom-width: 2px; }
.number { text-align: right; }
tr.mark th, tr.mark td:first-child { color: var(--mark); }
.swatch { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .5em; }
.missing { color: var(--soft); font-style: italic; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25em 1.4em; font-size: .93rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
pre { background: var(--plate); border: 1px solid var(--rule); border-radius: 6px; padding: .9em 1.1em; margin: .7em 0;
  overflow-x: auto; font: .82rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
details { margin: .6em 0; } summary { cursor: pointer; color: var(--mark); }
@media (max-width: 640px) {
  main { padding: 24px 16px 48px; }
  h1 { font-size: 1.5rem; } .lead { font-size: 1.05rem; }
  .wide svg { min-width: 720px; }
  table.stack thead { position: absolute; clip-path: inset(50%); }
  table.stack tr { display: block; padding: .7em 0; border-bottom: 1px solid var(--rule); }
  table.stack th, table.stack td { display: flex; justify-content: space-between; gap: 1em; border: 0; padding: .12em 0;
    text-align: right; }
  table.stack th { font-size: 1rem; }
  table.stack td::before { content: attr(data-label); color: var(--soft); text-align: left; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5em; }
}
@media print {
  :root { --ink: #000; --soft: #444; --paper: #fff; --plate: #f5f5f5; --rule: #bbb; --mark: #000; color-scheme: light; }
  body { font-size: 10.5pt; } main { max-width: none; padding: 0; }
  h2 { margin-top: 1.8em; break-after: avoid; } h3 { break-after: avoid; }
  figure, tr, .pair > div { break-inside: avoid; }
  table { font-size: 8.5pt; break-inside: avoid; }
  .swatch { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .pair { grid-template-columns: 1fr 1fr; } .medium svg { max-width: 440px; }
  .scroll { overflow: visible; } .scroll svg { min-width: 0 !important; } pre { white-space: pre-wrap; }
}
"""


def page(title: str, html: Iterable[str]) -> str:
    """The whole document."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n<main>\n'
        f'<h1>{escape(title)}</h1>\n{"".join(html)}</main>\n</body>\n</html>\n'
    )


def section(title: str, html: Iterable[str]) -> str:
    """A heading and what belongs to it; nothing at all if that is nothing."""
    content = ''.join(html)
    return f'<section>\n<h2>{escape(title)}</h2>\n{content}</section>\n' if content else ''


def heading(text: str) -> str:
    return f'<h3>{escape(text)}</h3>\n'


def paragraph(text: str, kind: str = '') -> str:
    return f'<p class="{kind}">{escape(text)}</p>\n' if text else ''


def figure(svgs: Sequence[str], caption: str, *, size: str = 'wide', titles: Sequence[str] = ()) -> str:
    """Drawings or plots with one caption.

    Args:
        svgs: one, or several that stand side by side where there is room, each under its title if it has one.
        caption: what they show.
        size: ``wide``: as wide as the page, scrolling on a phone; ``medium``: narrower, never scrolling; ``own``: as
            large as the SVG says.
    """
    heads = [heading(title) for title in titles] or [''] * len(svgs)
    parts = [f'<div>{head}<div class="scroll">{svg}</div></div>\n' for head, svg in zip(heads, svgs)]
    kind = f'{size} pair' if len(svgs) > 1 else size
    below = f'<figcaption>{escape(caption)}</figcaption>'
    return f'<figure><div class="{kind}">\n{"".join(parts)}</div>{below}</figure>\n'


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: int = 0,
    colours: Sequence[str] = (),
    missing: str = '',
    mark: str | None = None,
) -> str:
    """A table that becomes a stack of cards on a phone.

    Args:
        head: titles of the columns.
        rows: texts; the first of a row is its name.
        numbers: how many columns, from the right, hold numbers.
        colours: of the dots before the names.
        missing: the text of a cell without a value; it is set apart.
        mark: the name of the row to stand out.
    """
    first = len(head) - numbers
    classes = ['number' if column >= first else '' for column in range(len(head))]
    top = ''.join(f'<th scope="col" class="{kind}">{escape(text)}</th>' for kind, text in zip(classes, head))
    body = []
    for index, row in enumerate(rows):
        dot = f'<span class="swatch" style="background:{colours[index]}"></span>' if colours else ''
        cells = [f'<th scope="row"><span>{dot}{escape(row[0])}</span></th>']
        for text, label, kind in zip(row[1:], head[1:], classes[1:]):
            style = f'{kind} missing' if text == missing else kind
            cells.append(f'<td class="{style}" data-label="{escape(label)}">{escape(text)}</td>')
        body.append(f'<tr class="{"mark" if row[0] == mark else ""}">{"".join(cells)}</tr>\n')
    return f'<table class="stack"><thead><tr>{top}</tr></thead>\n<tbody>\n{"".join(body)}</tbody></table>\n'


def definitions(facts: Mapping[str, str]) -> str:
    items = ''.join(f'<dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd>\n' for key, value in facts.items())
    return f'<dl>{items}</dl>\n' if items else ''


def code(text: str) -> str:
    return f'<pre>{escape(text)}</pre>\n' if text else ''


def folded(summary: str, html: str) -> str:
    """What a reader opens when wanted."""
    return f'<details><summary>{escape(summary)}</summary>\n{html}</details>\n' if html else ''

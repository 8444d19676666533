"""Sphinx configuration. ``make docs`` builds the site into ``docs/_build`` with warnings as errors, offline.

Three kinds of text are prepared when a page is read:

- Links that leave ``docs/`` work in the repository. On the site they lead to the repository or, while it has no public
  address (``PROJECT_URL`` in ``setup.py``), become the path in plain text.
- ``contributing`` and ``changelog`` are the files at the top of the repository.
- ``commands`` ends with the ``--help`` of every command.
"""

import contextlib
import io
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.update(COLUMNS='88', NO_COLOR='1')  # help texts as wide as a code block

from mmhoga.cli.main import COMMANDS, main  # noqa: E402
from mmhoga.version import __version__  # noqa: E402

project = 'mmhoga'
author = 'mmhoga contributors'
copyright = author
release = version = __version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx_copybutton']
exclude_patterns = ['_build', 'examples']
highlight_language = 'text'  # of code without a language
myst_heading_anchors = 3
copybutton_exclude = '.linenos, .gp, .go'  # copy commands without the prompt and the output

autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented'
autodoc_member_order = 'bysource'
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False

html_theme = 'furo'
html_title = f'mmhoga {release}'
html_copy_source = False

COPIED = {'contributing': 'CONTRIBUTING.md', 'changelog': 'CHANGELOG.md'}
PROJECT_URL = re.search(r"^PROJECT_URL = '(.*)'$", (ROOT / 'setup.py').read_text(encoding='utf-8'), re.M)[1]


def resolve_links(text: str, folder: Path) -> str:
    """Rewrite the relative links of a page in ``folder``: to pages and images of the site, else to the repository."""

    def link(match: re.Match) -> str:
        image, label, target = match.groups()
        if '://' in target or target.startswith(('#', 'mailto:')):
            return match[0]
        path, _, anchor = target.partition('#')
        path = Path(os.path.normpath(folder / path))
        if path.is_relative_to(ROOT / 'docs') and path.suffix in ('.md', '.png', '.svg'):
            inside = path.relative_to(ROOT / 'docs').as_posix()
            return f'{image}[{label}]({inside}{anchor and "#" + anchor})'
        name = path.relative_to(ROOT).as_posix()
        if PROJECT_URL:
            return f'[{label}]({PROJECT_URL}/blob/main/{name})'
        return f'`{name}`' if label.strip('`') in name else f'{label} (`{name}`)'

    return re.sub(r'(!?)\[([^\]]*)\]\(([^)\s]+)\)', link, text)


def help_of_commands() -> str:
    """A section per command with the text that ``mmhoga COMMAND --help`` prints."""
    sections = []
    for heading, commands in COMMANDS.items():
        sections.append(f'## {heading}')
        for name in commands:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
                main([name, '--help'])
            assert printed.getvalue().startswith('usage:'), f'mmhoga {name} --help printed no usage'
            sections.append(f'### mmhoga {name}\n\n```text\n{printed.getvalue()}```')
    return '\n\n'.join(sections)


def read_source(app, docname: str, source: list[str]) -> None:
    """Sphinx event ``source-read``: ``source`` holds the text of the page."""
    if docname in COPIED:
        source[0] = resolve_links((ROOT / COPIED[docname]).read_text(encoding='utf-8'), ROOT)
    else:
        source[0] = resolve_links(source[0], ROOT / 'docs')
    if docname == 'commands':
        source[0] += f'\n\n{help_of_commands()}\n'


def mend_arguments(app, what, name, obj, options, lines: list[str]) -> None:
    """Escape ``a, **kwargs:`` in lists of arguments, and a description ``C.``, which reST reads as a numbered list."""
    for pattern, replacement in ((r'^(\s*\w+, )\*\*(\w+:)', r'\1\\*\\*\2'), (r'^(\s*\w+: [A-Z])\.$', r'\1')):
        lines[:] = [re.sub(pattern, replacement, line) for line in lines]


def setup(app) -> None:
    app.connect('source-read', read_source)
    app.connect('autodoc-process-docstring', mend_arguments, priority=400)  # before Napoleon's 500

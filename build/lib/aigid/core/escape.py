"""What others named, made safe for where it is shown: one rule each for terminals, Markdown, figures, LaTeX and CSV."""

import re
from base64 import b64encode
from hashlib import sha256

HTML_START = re.compile(r"<(?=[A-Za-z/!?])")
HTML_ENTITY = re.compile(r"&(?=#?\w+;)")
LATEX = {char: rf"\{char}" for char in "&%$#_{}"} | {"\\": r"\textbackslash{}"}
LATEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
FORMULA_CHARS = tuple("=+-@\t\r")  # with which a cell begins that a spreadsheet would compute
FORMULA_STARTS = {*FORMULA_CHARS, "'"}  # of cells that ``csv_cell`` may change
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
CREDENTIALS = re.compile(r"(?<=://)[^/\s@]*@")
QUERY = re.compile(r"(\w+://[^\s?]*\?)\S+")


def terminal(text: str) -> str:
    """Return a line as it can be printed: what moves the cursor, turns text round or is no UTF-8 is written out."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def has_surrogates(text: str) -> bool:
    """Return whether a text stands for bytes that are no UTF-8."""
    return any("\ud800" <= char <= "\udfff" for char in text)


def markdown(text: str) -> str:
    """Return a line of Markdown without HTML, links or images."""
    text = HTML_START.sub("&lt;", HTML_ENTITY.sub("&amp;", terminal(text)))
    return text.replace("](", r"]\(")


def markdown_cell(text: str) -> str:
    """Return a cell of a table in Markdown."""
    return markdown(text).replace("|", r"\|")


def markdown_code(text: str) -> str:
    """Return a text as code in Markdown."""
    return f"`{terminal(text).replace('`', chr(39))}`"


def figure(text: str) -> str:
    """Return a label of a figure, of which matplotlib takes nothing for a formula."""
    return terminal(str(text)).replace("$", r"\$")


def latex(text: str) -> str:
    """Return a text of LaTeX."""
    return "".join(LATEX.get(char, char) for char in terminal(text))


def csv_cell(text: str) -> str:
    """Return a cell that no spreadsheet computes: ``'=1+1`` of ``=1+1``; ``read_csv_cell`` gives the text back."""
    return f"'{text}" if _is_formula(text) else text


def read_csv_cell(cell: str) -> str:
    """Return the text of a cell that ``csv_cell`` wrote."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell) else cell


def source_hash(text: str) -> str:
    """Return the content security policy's name of an inline script or style."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def address(text: str) -> str:
    """Return a text in which addresses have neither credentials nor queries, which may hold some."""
    return QUERY.sub(r"\1...", CREDENTIALS.sub("...@", text))


def _is_formula(text: str) -> bool:
    return text.lstrip("'").startswith(FORMULA_CHARS) and not NUMBER.fullmatch(text)

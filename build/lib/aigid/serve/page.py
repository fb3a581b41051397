"""The page, and the policy under which a browser runs no other code and asks no other server."""

import re
from pathlib import Path

from aigid.core.escape import source_hash

HTML = Path(__file__).with_name("page.html").read_text(encoding="utf-8")


def _hashes(tag: str) -> str:
    return " ".join(map(source_hash, re.findall(rf"<{tag}>(.*?)</{tag}>", HTML, re.DOTALL)))


POLICY = (
    f"default-src 'none'; script-src {_hashes('script')}; style-src {_hashes('style')}; img-src blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

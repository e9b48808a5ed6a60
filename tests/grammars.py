"""What the fields of an answer may hold, for properties of its grammar."""

from __future__ import annotations

from hypothesis import strategies as st

LINE = (
    st.text(
        alphabet=st.characters(
            blacklist_categories=("Cc", "Zl", "Zp", "Cs"), blacklist_characters="<>"
        )
    )
    .map(str.strip)
    .filter(lambda s: s and len(s.splitlines()) == 1)
)
"""One trimmed line without tags; half a surrogate pair is no text."""

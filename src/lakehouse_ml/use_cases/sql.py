"""Text as Spark SQL that means that text and nothing else."""

from __future__ import annotations

_PLAIN = frozenset(" !#%&*+,-./:;<=>?@[]^_|~")


def string_literal(text: str) -> str:
    """Spark's string literal of a text, in printable ASCII.

    Everything but letters, digits and harmless signs is an escape, so nothing in the literal is a quote, a call, a
    comment's end, or an interpolation of OmegaConf, whoever reads it.
    """
    return f"'{''.join(map(_escape, text))}'"


def _escape(letter: str) -> str:
    if letter.isascii() and (letter.isalnum() or letter in _PLAIN):
        return letter
    return f"\\u{ord(letter):04x}" if ord(letter) < 2**16 else f"\\U{ord(letter):08x}"

"""A source → its framed lines, whether it is a whole file or whole lines from the middle of one."""

from headsaw.convert.decode import Decode
from headsaw.convert.frame import Framer
from headsaw.core.conversion import SourcePart, SourceStream


def opened(source: SourceStream, line_bytes_max: int) -> tuple[Decode, Framer]:
    """The source's decoding, and over it the framing; nothing is read yet."""
    match source:
        case SourcePart(_, line, offset):
            decode = Decode(source.chunks(), plain=True)
            return decode, Framer(decode, line_bytes_max, line=line, offset=offset)
        case _:
            decode = Decode(source.chunks(), name=source.key)
            return decode, Framer(decode, line_bytes_max)

"""Words under a head of their own: every line of them is indented, in lists that would wrap to the left edge."""

from textual.content import Content

from workbench.cells import wrap

BOX_CELLS = 9  # of a box: borders, padding, scroll bar


def hanging(head: Content, words: str, width: int, *, below: bool = False, style: str = "") -> Content:
    """`words` behind `head`, or indented `below` it, in lines of at most `width` cells."""
    indent = 2 if below else head.cell_length
    lines = wrap(words, max(8, width - indent)) or [""]
    rest = [Content.assemble(" " * indent, (line, style)) for line in lines]
    if below:
        return Content("\n").join([head, *rest])
    return Content("\n").join([Content.assemble(head, (lines[0], style)), *rest[1:]])


def room_in_box(box_width: int, screen_width: int) -> int:
    """The cells of a line in a list of a modal that wants `box_width`."""
    return min(box_width, screen_width if screen_width < 100 else int(0.94 * screen_width)) - BOX_CELLS

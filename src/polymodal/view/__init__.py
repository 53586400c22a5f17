"""How results look: one way to print a table, draw a plot, show a cell and make a page.

    text      numbers, intervals and cells as words        console   a terminal (rich)
    plot      plots and sheets of panels (matplotlib)       cell      one cell of any kind, as pictures and sounds
    blocks    what a page is made of                        page      blocks as HTML (jinja2)        sheet   as PNG

Nothing here knows a model or a table: what comes in are plain values, arrays and pictures. All text that comes in is
text, whatever it holds; it is escaped here.
"""

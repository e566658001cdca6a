"""Many boards on one page, in tiles: the boards of a tile side by side under its caption."""

from dataclasses import dataclass

from matplotlib.figure import Figure

from trm.puzzles.drawing import Drawing
from trm.reporting.render import to_axes

# inches
BOARD, GAP, BETWEEN, MARGIN = 1.06, 0.09, 0.36, 0.1
TITLE, HEADING, CAPTION = 0.36, 0.2, 0.2
BROAD = 1.6  # width over height of boards, such as lines of text, that need twice the width to be read


@dataclass(frozen=True)
class Tile:
    """Boards that belong together, by what each one shows, and what is to say about them."""

    caption: str
    boards: dict[str, Drawing]


def sheet(title: str, tiles: list[Tile], columns: int) -> Figure:
    """Tiles in as many columns, half as many of broad ones, filled from the top down, the first one on the left."""
    highest = max(board.height / board.width for tile in tiles for board in tile.boards.values())
    board_width = BOARD
    if highest * BROAD < 1:
        board_width, columns = 2 * BOARD, max(1, columns // 2)
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    across = len(tiles[0].boards)
    board_height = board_width * highest
    tile_width = across * board_width + (across - 1) * GAP
    tile_height = CAPTION + board_height + GAP
    width = columns * tile_width + (columns - 1) * BETWEEN + 2 * MARGIN
    height = TITLE + HEADING + rows * tile_height + MARGIN
    figure = Figure(figsize=(width, height))

    def write(x: float, y: float, text: str, **style: str | float) -> None:
        figure.text(x / width, 1 - y / height, text, va="baseline", **style)

    write(MARGIN, 0.23, title, fontsize=9, fontweight="bold")
    for i, tile in enumerate(tiles):
        column, row = divmod(i, rows)
        left = MARGIN + column * (tile_width + BETWEEN)
        top = TITLE + HEADING + row * tile_height
        write(left, top + 0.13, tile.caption, fontsize=7)
        for k, (name, board) in enumerate(tile.boards.items()):
            x, y = left + k * (board_width + GAP), top + CAPTION
            place = (x / width, 1 - (y + board_height) / height, board_width / width, board_height / height)
            to_axes(board, figure.add_axes(place))
            if row == 0:
                write(x + board_width / 2, TITLE + 0.1, name, fontsize=7.5, color="#666666", ha="center")
    return figure

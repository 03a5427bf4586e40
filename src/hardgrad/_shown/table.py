"""A table: as lines for a terminal, and as HTML for a notebook, of the same cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hardgrad._shown.page import escaped
from hardgrad._shown.width import terminal

MOST = 60  # rows that a notebook shows; of more the first and the last
_LONGEST = 160  # letters of a cell in a notebook
_WRAPS = 40  # letters from which a cell may take several lines


@dataclass(frozen=True)
class Table:
    """Cells of text.

    Args:
        head: what each column is.
        rows: one cell for each column. A row that is shorter ends in words that run on over the other columns.
        pictures: HTML that a notebook shows after the text of a column's cells: column -> one for each row.
        left: the columns that are set to the left; the others are numbers, set to the right.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    pictures: Mapping[int, Sequence[str]] = field(default_factory=dict)
    left: Sequence[int] = (0,)

    def lines(self) -> list[str]:
        """Return aligned lines; on a terminal that is too narrow, the columns in groups under each other."""
        most = terminal()
        full = [self.head, *(row for row in self.rows if len(row) == len(self.head))]
        widths = [max(len(line[i]) for line in full) for i in range(len(self.head))]
        widths[0] = max(widths[0], *(len(row[0]) for row in self.rows), 0)
        names_apart = most is not None and widths[0] > most // 2  # each on a line of its own
        if names_apart:
            widths[0] = 2
        lines = []
        for number, columns in enumerate(_groups(widths, most)):
            lines += [""] * bool(number)
            for row in [self.head, *(row for row in self.rows if not number or len(row) == len(self.head))]:
                name, *cells = row
                if names_apart:
                    lines += [name] if name and row is not self.head else []
                    name = ""
                if len(row) == len(self.head):
                    lines.append(self._line([name, *cells], columns, widths))
                else:
                    lines.append("  ".join([name.ljust(widths[0]), *cells]))
        return lines

    def _line(self, row: Sequence[str], columns: Sequence[int], widths: Sequence[int]) -> str:
        cells = (row[i].ljust(widths[i]) if i in self.left else row[i].rjust(widths[i]) for i in columns)
        return "  ".join(cells).rstrip()

    def html(self, caption: str) -> str:
        """Return a table for a notebook.

        Args:
            caption: what is in it.
        """
        head = "".join(
            f'<th scope="col"{self._side(i)}>{escaped(name)}</th>' if name else "<td></td>"
            for i, name in enumerate(self.head)
        )
        left_out = len(self.rows) - MOST
        shown = range(len(self.rows))
        before, after = (shown, shown[:0]) if left_out <= 0 else (shown[: MOST // 2], shown[-MOST // 2 :])
        body = "".join(map(self._html_row, before))
        if left_out > 0:
            body += f'<tr><td class=l colspan="{len(self.head)}">{left_out:,} more rows</td></tr>'
        body += "".join(map(self._html_row, after))
        title = escaped(caption)
        return (
            f'<div class="t" tabindex="0" role="group" aria-label="{title}"><table><caption>{title}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )

    def _html_row(self, number: int) -> str:
        row = self.rows[number]
        cells = [f'<th scope="row">{escaped(row[0], _LONGEST)}</th>']
        for i, text in enumerate(row[1:], start=1):
            picture = self.pictures[i][number] if i in self.pictures else ""
            rest = len(self.head) - i
            wide = f' colspan="{rest}"' if i == len(row) - 1 and rest > 1 else ""
            side = ' class="l w"' if wide or len(text) > _WRAPS else self._side(i)
            cells.append(f"<td{side}{wide}>{escaped(text, _LONGEST)}{picture}</td>")
        return f"<tr>{''.join(cells)}</tr>"

    def _side(self, column: int) -> str:
        return " class=l" if column in self.left else ""


def _groups(widths: Sequence[int], most: int | None) -> list[list[int]]:
    """Return the columns that are shown beside each other; the first one, which names the rows, is in each group."""
    groups, used = [[0]], widths[0]
    for column in range(1, len(widths)):
        if most is not None and len(groups[-1]) > 1 and used + 2 + widths[column] > most:
            groups.append([0])
            used = widths[0]
        groups[-1].append(column)
        used += 2 + widths[column]
    return groups

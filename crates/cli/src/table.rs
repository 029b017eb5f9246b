//! A table for people: numbers right-aligned, the last column takes what room is left.
//!
//! Widths are counted in terminal cells (UAX #11), so that wide and combining characters in names keep the columns straight.
//! Control characters never reach a table: readers make names printable first.

use crate::terminal::{Colour, Terminal};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

const GAP: usize = 2;

/// So many lines of rows are shown on the lowest of screens.
const LEAST: usize = 3;

/// Rows under titles.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Row>,
    /// Rows that are shown last and always.
    foot: Vec<Row>,
    /// The column that notes stand under: the last, unless said otherwise.
    notes_under: usize,
}

#[derive(Debug)]
struct Column {
    title: &'static str,
    align: Align,
}

/// To which side a column's cells are pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

#[derive(Debug)]
struct Row {
    cells: Vec<Cell>,
    /// Lines below the row.
    notes: Vec<String>,
}

impl Row {
    fn lines(&self, indent: usize, terminal: &Terminal) -> usize {
        let wrapped = self
            .notes
            .iter()
            .map(|note| wrap(note, indent, terminal).len());
        1 + wrapped.sum::<usize>()
    }

    fn new(cells: impl IntoIterator<Item = Cell>) -> Self {
        Self {
            cells: cells.into_iter().collect(),
            notes: Vec::new(),
        }
    }
}

/// One cell: its text, and a colour where colours are shown.
#[derive(Debug)]
pub(crate) struct Cell {
    text: String,
    colour: Option<Colour>,
}

impl Cell {
    /// In a colour.
    pub(crate) fn coloured(text: impl Into<String>, colour: Colour) -> Self {
        Self {
            text: text.into(),
            colour: Some(colour),
        }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(value: T) -> Self {
        Self {
            text: value.to_string(),
            colour: None,
        }
    }
}

impl Table {
    /// An empty table; `columns` are titles with their alignment.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        let column = |&(title, align)| Column { title, align };
        Self {
            columns: columns.iter().map(column).collect(),
            rows: Vec::new(),
            foot: Vec::new(),
            notes_under: columns.len().saturating_sub(1),
        }
    }

    /// Notes stand under the column at this place: for notes too long for the last one.
    pub(crate) fn notes_under(self, column: usize) -> Self {
        Self {
            notes_under: column,
            ..self
        }
    }

    /// Adds a row, one cell for each column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(Row::new(cells));
    }

    /// Adds a row that stands below all others, however few of them there is room for.
    pub(crate) fn foot(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.foot.push(Row::new(cells));
    }

    /// Adds a line below the row that was added last.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        if let Some(row) = self.rows.last_mut() {
            row.notes.push(text.into());
        }
    }

    /// The text, each line cut to the terminal's width. Where the terminal has a height, titles, rows, notes and foot leave
    /// `elsewhere` lines of it for others, and the rows that do not fit are counted instead.
    pub(crate) fn render(&self, terminal: &Terminal, elsewhere: usize) -> String {
        let widths = self.widths();
        let indent = self.note_indent(&widths);
        let mut text = String::new();
        let titles = self
            .columns
            .iter()
            .map(|column| Cell::coloured(column.title, Colour::Faint));
        if self.columns.iter().any(|column| !column.title.is_empty()) {
            self.line(&titles.collect::<Vec<_>>(), &widths, terminal, &mut text);
        }
        let lines: usize = self
            .rows
            .iter()
            .map(|row| row.lines(indent, terminal))
            .sum();
        let others = elsewhere + 1 + self.foot.len();
        let mut room = terminal
            .rows
            .map_or(usize::MAX, |rows| rows.saturating_sub(others).max(LEAST));
        if lines > room {
            room -= 1; // for the count of those left out
        }
        let mut used = 0;
        for (shown, row) in self.rows.iter().enumerate() {
            used += row.lines(indent, terminal);
            if used > room {
                let left_out = self.rows.len() - shown;
                let more = format!("{} {left_out} more", terminal.ellipsis());
                text.push_str(&terminal.paint(Colour::Faint, &more));
                text.push('\n');
                break;
            }
            self.row_lines(row, &widths, terminal, &mut text);
        }
        for row in &self.foot {
            self.row_lines(row, &widths, terminal, &mut text);
        }
        text
    }

    fn row_lines(&self, row: &Row, widths: &[usize], terminal: &Terminal, text: &mut String) {
        self.line(&row.cells, widths, terminal, text);
        let indent = self.note_indent(widths);
        for line in row
            .notes
            .iter()
            .flat_map(|note| wrap(note, indent, terminal))
        {
            text.push_str(&" ".repeat(indent));
            text.push_str(&terminal.paint(Colour::Faint, line));
            text.push('\n');
        }
    }

    fn note_indent(&self, widths: &[usize]) -> usize {
        let before = widths.iter().take(self.notes_under);
        before.map(|width| width + GAP).sum()
    }

    fn widths(&self) -> Vec<usize> {
        let width_of = |(index, column): (usize, &Column)| {
            let rows = self.rows.iter().chain(&self.foot);
            let cells = rows.filter_map(|row| row.cells.get(index));
            let widest = cells.map(|cell| cell.text.width()).max().unwrap_or(0);
            widest.max(column.title.width())
        };
        self.columns.iter().enumerate().map(width_of).collect()
    }

    fn line(&self, cells: &[Cell], widths: &[usize], terminal: &Terminal, text: &mut String) {
        let mut room = terminal.columns.unwrap_or(usize::MAX);
        let mut pending = 0; // blanks are written only before something, so that no line ends in them
        for ((column, cell), &width) in self.columns.iter().zip(cells).zip(widths) {
            let blank = " ".repeat(width.saturating_sub(cell.text.width()));
            let (padded, after) = match column.align {
                Align::Left => (cell.text.clone(), blank.len()),
                Align::Right => (blank + &cell.text, 0),
            };
            let left = room.saturating_sub(pending);
            let shown = cut(&padded, left, terminal.ellipsis());
            if left == 0 || shown.trim().is_empty() {
                pending += width + GAP;
                continue;
            }
            text.push_str(&" ".repeat(pending));
            text.push_str(&match cell.colour {
                Some(colour) => terminal.paint(colour, &shown),
                None => shown.into_owned(),
            });
            room = room.saturating_sub(pending + width - after);
            pending = after + GAP;
        }
        text.push('\n');
    }
}

/// Text that is no table, each of its lines broken between words where it is wider than the terminal.
pub(crate) fn paragraph(text: &str, terminal: &Terminal) -> String {
    let lines = text.lines().flat_map(|line| wrap(line, 0, terminal));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// `note` in lines that fit right of `indent`, broken between words; no line where there is no room at all.
pub(crate) fn wrap<'n>(note: &'n str, indent: usize, terminal: &Terminal) -> Vec<&'n str> {
    let room = terminal
        .columns
        .map_or(usize::MAX, |columns| columns.saturating_sub(indent));
    let mut lines = Vec::new();
    let mut rest = note;
    while !rest.is_empty() && room > 0 {
        let mut end = 0; // of what fits
        let mut at_word = 0;
        let mut width = 0;
        for (at, c) in rest.char_indices() {
            width += c.width().unwrap_or(0);
            if width > room {
                break;
            }
            end = at + c.len_utf8();
            if rest
                .get(end..)
                .is_none_or(|after| after.is_empty() || after.starts_with(' '))
            {
                at_word = end;
            }
        }
        let (line, after) = rest.split_at(if at_word > 0 { at_word } else { end });
        if line.is_empty() {
            break; // not even one character fits
        }
        lines.push(line);
        rest = after.trim_start();
    }
    lines
}

/// `text` in at most `room` cells, with an ellipsis where something is left out.
pub(crate) fn cut<'t>(text: &'t str, room: usize, ellipsis: &str) -> std::borrow::Cow<'t, str> {
    if text.width() <= room {
        return text.into();
    }
    let ellipsis = if ellipsis.width() <= room {
        ellipsis
    } else {
        ""
    };
    let mut left = room.saturating_sub(ellipsis.width());
    let mut kept: String = text
        .chars()
        .take_while(|c| {
            let width = c.width().unwrap_or(0);
            let fits = width <= left;
            left = left.saturating_sub(width);
            fits
        })
        .collect();
    kept.push_str(ellipsis);
    kept.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal(columns: usize) -> Terminal {
        Terminal {
            columns: Some(columns),
            rows: None,
            colour: false,
            utf8: true,
        }
    }

    fn sizes() -> Table {
        let mut table = Table::new(&[
            ("", Align::Left),
            ("SIZE", Align::Right),
            ("OWNER", Align::Left),
        ]);
        table.row(["#".into(), "1.50 GiB".into(), "anonymous".into()]);
        table.note("memory of processes");
        table.row(["".into(), "9 B".into(), "日本語 names are wide".into()]);
        table
    }

    #[test]
    fn numbers_stand_right_and_no_line_ends_in_blanks() {
        let text = sizes().render(&terminal(80), 0);
        assert_eq!(
            text,
            "       SIZE  OWNER\n\
             #  1.50 GiB  anonymous\n\
             \x20            memory of processes\n\
             \x20       9 B  日本語 names are wide\n"
        );
    }

    #[test]
    fn the_last_column_is_cut_by_cells_not_by_bytes() {
        let text = sizes().render(&terminal(20), 0);
        assert_eq!(
            text,
            "       SIZE  OWNER\n\
             #  1.50 GiB  anonym…\n\
             \x20            memory\n\
             \x20            of\n\
             \x20            process\n\
             \x20            es\n\
             \x20       9 B  日本語…\n"
        );
        assert_eq!(cut("日本語", 4, "…"), "日…");
        assert_eq!(cut("abc", 0, "…"), "");
    }

    #[test]
    fn rows_that_do_not_fit_are_counted_and_the_foot_always_stands() {
        let mut table = Table::new(&[("PID", Align::Right)]);
        for pid in 1..=9 {
            table.row([pid.into()]);
        }
        table.foot(["sum".into()]);
        let rows = |rows| Terminal {
            rows: Some(rows),
            ..terminal(80)
        };
        let whole = table.render(&rows(11), 0);
        assert!(whole.ends_with("  9\nsum\n"), "{whole}");
        assert_eq!(
            table.render(&rows(9), 2),
            "PID\n  1\n  2\n  3\n  4\n… 5 more\nsum\n"
        );
        assert_eq!(table.render(&rows(1), 2), "PID\n  1\n  2\n… 7 more\nsum\n");
    }

    proptest::proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(name in "\\PC{0,40}", columns in 1usize..60) {
            let mut table = Table::new(&[("N", Align::Right), ("NAME", Align::Left)]);
            table.row([12.into(), name.as_str().into()]);
            for line in table.render(&terminal(columns), 0).lines() {
                proptest::prop_assert!(line.width() <= columns, "{line:?}");
            }
        }
    }
}

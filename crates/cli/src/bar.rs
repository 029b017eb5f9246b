//! A stacked bar: one line that shows how a whole divides.
//!
//! ```text
//! [#######===++-................]
//! ```

use crate::table::Cell;
use crate::terminal::{Colour, Terminal};

/// How a part is drawn: by its character where there is no colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    utf8: char,
    ascii: char,
    colour: Colour,
}

/// For the biggest parts, in this order.
pub(crate) const KEYS: [Key; 6] = [
    key('█', '#', Colour::Blue),
    key('▓', '=', Colour::Green),
    key('▒', '+', Colour::Yellow),
    key('▚', '%', Colour::Magenta),
    key('▞', '/', Colour::Cyan),
    key('▤', '*', Colour::Red),
];

/// For all parts that have no key of their own.
pub(crate) const OTHERS: Key = key('░', '-', Colour::Faint);

/// For what is free.
pub(crate) const FREE: Key = key('·', '.', Colour::Faint);

const fn key(utf8: char, ascii: char, colour: Colour) -> Key {
    Key {
        utf8,
        ascii,
        colour,
    }
}

impl Key {
    fn character(self, terminal: &Terminal) -> char {
        if terminal.utf8 { self.utf8 } else { self.ascii }
    }

    /// The key as a cell of the table that explains the bar.
    pub(crate) fn cell(self, terminal: &Terminal) -> Cell {
        Cell::coloured(self.character(terminal), self.colour)
    }

    fn drawn(self, count: usize, terminal: &Terminal) -> String {
        let text: String = std::iter::repeat_n(self.character(terminal), count).collect();
        terminal.paint(self.colour, &text)
    }
}

/// Draws `parts` of `total` in the order given, without a line end. Neighbours of one key are drawn together.
pub(crate) fn bar(parts: &[(Key, u64)], total: u64, terminal: &Terminal) -> String {
    let cells = terminal.bar_columns().saturating_sub(2).max(10);
    let mut drawn = String::from("[");
    let mut sum = 0u64;
    let mut filled = 0;
    for (key, size) in parts {
        sum = sum.saturating_add(*size).min(total);
        // the ends are rounded, not the sizes: so errors never add up
        let end = end_cell(sum, total, cells);
        drawn.push_str(&key.drawn(end - filled, terminal));
        filled = end;
    }
    drawn.push_str(&" ".repeat(cells - filled));
    drawn.push(']');
    drawn
}

/// The cell in which the part that ends at `sum` of `total` ends: at most `cells`, and never falling.
fn end_cell(sum: u64, total: u64, cells: usize) -> usize {
    let total = u128::from(total.max(1));
    let wide = u128::try_from(cells).unwrap_or(0);
    let cell = (u128::from(sum) * wide + total / 2) / total;
    usize::try_from(cell).unwrap_or(cells).min(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Terminal = Terminal {
        columns: Some(22),
        rows: None,
        colour: false,
        utf8: false,
    };

    #[test]
    fn parts_take_their_share() {
        let parts = [(KEYS[0], 50), (KEYS[1], 25), (FREE, 20)];
        assert_eq!(bar(&parts, 100, &PLAIN), "[##########=====.... ]");
    }

    #[test]
    fn a_part_too_small_for_a_cell_is_not_drawn_and_too_much_is_cut() {
        let parts = [(KEYS[0], 1), (KEYS[1], 150), (FREE, u64::MAX)];
        assert_eq!(bar(&parts, 100, &PLAIN), "[====================]");
        assert_eq!(bar(&[], 0, &PLAIN), "[                    ]");
    }

    #[test]
    fn colours_where_they_are_shown() {
        let terminal = Terminal {
            colour: true,
            utf8: true,
            columns: Some(12),
            ..PLAIN
        };
        assert_eq!(
            bar(&[(KEYS[0], 5)], 10, &terminal),
            "[\x1b[34m█████\x1b[0m     ]"
        );
    }
}

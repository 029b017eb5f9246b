//! Text that explains: headings, paragraphs, items.

use crate::table::wrap;
use crate::terminal::{Colour, Terminal};

/// A title of what follows, with room above.
pub(super) fn heading(text: &mut String, words: &str, terminal: &Terminal) {
    text.push('\n');
    text.push_str(&terminal.paint(Colour::Strong, words));
    text.push('\n');
}

/// A paragraph, indented.
pub(super) fn line(words: &str, indent: usize, terminal: &Terminal) -> String {
    let lines = wrap(words, indent, terminal).into_iter();
    lines.fold(String::new(), |text, line| {
        text + &" ".repeat(indent) + line + "\n"
    })
}

/// One of several, with a mark before it.
pub(super) fn item(words: &str, terminal: &Terminal) -> String {
    let text = line(words, 4, terminal);
    text.get(4..)
        .map(|rest| format!("  - {rest}"))
        .unwrap_or(text)
}

/// A report is read from the top, however high the screen is.
pub(super) fn unbounded(terminal: &Terminal) -> Terminal {
    Terminal {
        rows: None,
        ..*terminal
    }
}

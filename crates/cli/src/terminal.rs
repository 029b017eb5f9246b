//! What the output goes to: how wide and high it is, and whether it takes colours and line-drawing characters.
//!
//! On a terminal everything fits the screen; through a pipe nothing is cut, so that `grep` sees whole lines.
//! `COLUMNS` overrides the width in both cases, `NO_COLOR` (no-color.org) forbids colour.

use rustix::termios;
use std::env;
use std::io::{self, Write};

/// The bar's width where nobody says how wide the output is.
const BAR_COLUMNS: usize = 80;

/// Where a view is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    /// Lines are cut to this width; `None` for no cut.
    pub(crate) columns: Option<usize>,
    /// Tables are cut to fit this height; `None` for no cut.
    pub(crate) rows: Option<usize>,
    pub(crate) colour: bool,
    /// Whether the locale shows more than ASCII.
    pub(crate) utf8: bool,
}

impl Terminal {
    /// Asks the environment and the terminal on standard output.
    pub(crate) fn of_stdout() -> Self {
        let stdout = io::stdout();
        let is_terminal = termios::isatty(&stdout);
        let size = is_terminal
            .then(|| termios::tcgetwinsize(&stdout).ok())
            .flatten();
        let named = |variable| env::var(variable).ok()?.parse().ok().filter(|&n| n > 0);
        let asked = |count: u16| Some(usize::from(count)).filter(|&n| n > 0);
        Self {
            columns: named("COLUMNS").or_else(|| asked(size?.ws_col)),
            rows: size.and_then(|size| asked(size.ws_row)),
            colour: is_terminal
                && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                && env::var_os("TERM").is_none_or(|terminal| terminal != "dumb"),
            utf8: locale_is_utf8(),
        }
    }

    /// Whether it is a screen, which can be drawn over.
    pub(crate) fn is_screen(&self) -> bool {
        self.rows.is_some()
    }

    /// What stands for text that is left out.
    pub(crate) fn ellipsis(&self) -> &'static str {
        if self.utf8 { "…" } else { "..." }
    }

    /// How wide a bar is drawn.
    pub(crate) fn bar_columns(&self) -> usize {
        self.columns.unwrap_or(BAR_COLUMNS).min(120)
    }

    /// `text` in a colour, where colours are shown.
    pub(crate) fn paint(&self, colour: Colour, text: &str) -> String {
        if self.colour && !text.is_empty() {
            format!("\x1b[{}m{text}\x1b[0m", colour.code())
        } else {
            text.to_owned()
        }
    }
}

/// The first of `LC_ALL`, `LC_CTYPE`, `LANG` that is set decides (locale(7)).
fn locale_is_utf8() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(|name| env::var(name).ok())
        .find(|value| !value.is_empty())
        .unwrap_or_default()
        .to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// The terminal's own palette, so that people's colour schemes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    Blue,
    Green,
    Yellow,
    Magenta,
    Cyan,
    Red,
    /// Less important.
    Faint,
    /// More important.
    Strong,
}

impl Colour {
    fn code(self) -> &'static str {
        match self {
            Self::Blue => "34",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Magenta => "35",
            Self::Cyan => "36",
            Self::Red => "31",
            Self::Faint => "2",
            Self::Strong => "1",
        }
    }
}

/// Writes to standard output in one piece.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

//! Shell completions and man pages, from the definitions in `args`.

use crate::args::Plimsoll;
use crate::failure::{Failure, Kind};
use crate::terminal;
use anyhow::Context;
use clap::CommandFactory;
use std::io;
use std::path::Path;

/// Prints the completion script of a shell.
pub(crate) fn completions(shell: clap_complete::Shell) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Plimsoll::command(), "plimsoll", &mut script);
    terminal::print(&String::from_utf8_lossy(&script))
}

/// Writes one page for `plimsoll` and one for each verb.
pub(crate) fn man_pages(dir: &Path) -> Result<(), Failure> {
    clap_mangen::generate_to(Plimsoll::command(), dir)
        .with_context(|| format!("cannot write man pages into {}", dir.display()))
        .map_err(|error| Failure::new(Kind::Failed, error))
}

//! One process for people.

use super::processes;
use crate::failure::{Failure, Kind};
use crate::terminal::Terminal;
use plimsoll_ledger::look::Look;

/// The process `pid`.
pub(super) fn view(look: &Look, pid: u32, terminal: &Terminal) -> Result<String, Failure> {
    let one: Vec<_> = look
        .processes
        .iter()
        .filter(|process| process.pid == pid)
        .cloned()
        .collect();
    if one.is_empty() {
        return Err(Failure::message(
            Kind::Failed,
            format_args!("no process {pid}"),
        ));
    }
    Ok(processes::view(&one, None, terminal))
}

//! `plimsoll explain overcommit`: one look, and the three states in it.

use super::{findings, json, overcommit_view};
use crate::args::{self, At};
use crate::failure::{Failure, Kind};
use crate::terminal::{self, Terminal};
use plimsoll_explain::overcommit::overcommit;

/// Explains this host, a captured one, or the peak of a recording.
pub(crate) fn run(args: &args::ExplainOvercommit) -> Result<(), Failure> {
    let is_recording = args.scene.root.as_ref().is_some_and(|path| path.is_file());
    let scene = args::SceneArgs {
        root: args.scene.root.clone(),
        at: args.scene.at.or(is_recording.then_some(At::MostCommitted)),
    };
    let account = findings::account(&scene)?;
    let overcommit = overcommit(&account).ok_or_else(|| {
        let what = "/proc/meminfo, /proc/zoneinfo or vm.overcommit_memory could not be read";
        Failure::message(Kind::Failed, what)
    })?;
    let shown = if args.json {
        json(&overcommit)?
    } else {
        overcommit_view::view(&overcommit, &Terminal::of_stdout())
    };
    Ok(terminal::print(&shown)?)
}

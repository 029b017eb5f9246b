//! The watcher of the trees whose records are in a directory of one's own, as a program: `watcher DIR`. Tests start
//! it, and kill it at every step.

use plimsoll_park::runtime::Runtime;
use plimsoll_park::{ParkError, wake};
use plimsoll_proc::Root;
use std::io::Write;

fn main() -> Result<(), ParkError> {
    let dir = std::env::args_os().nth(1).unwrap_or_default();
    let runtime = Runtime::at(dir.into())?;
    wake::watch(&Root::live(), &runtime, || {
        let _ = writeln!(std::io::stdout(), "{}", wake::READY);
    })
}

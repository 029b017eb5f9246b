//! `plimsoll capture`: one look, and the bytes it was made from.

use crate::args;
use crate::failure::Failure;

pub(crate) fn run(_args: &args::Capture) -> Result<(), Failure> {
    Ok(())
}

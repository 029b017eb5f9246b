//! A complete set of images, told from a broken one.
//!
//! Every image is decoded whole; then what one says of another is looked up there. Nothing is repaired, and nothing stops at the
//! first fault: a [`Report`] names all that is broken, missing or contradictory, and what is only remarkable.
//!
//! ```text
//! files   every image decodes, has what it must have, and no more            packed  checksums, where ours
//! tasks   pstree -> core, ids, mm, fs, fdinfo, pagemap of each process
//! links   descriptors, mappings, remaps, queues -> what they are about
//! memory  pagemaps ascend, lie in mappings, match the sizes of their pages files, and are covered by parents
//! ```

mod files;
mod links;
mod memory;
mod packed;
mod report;
mod tasks;

pub use report::{Finding, Report, Weight};

use crate::directory::Directory;
use std::io;

/// Sets longer than this, parent after parent, are taken for a circle.
const LONGEST_CHAIN: usize = 1024;

/// Looks only at the checksums of a set that has some: the quick part of [`verify`].
///
/// # Errors
/// The directory can't be read at all.
pub fn digests(directory: &dyn Directory) -> io::Result<Report> {
    let mut report = Report::default();
    packed::check_digests(directory, &mut report)?;
    report.sort();
    Ok(report)
}

/// Looks at a whole set and the sets it builds on.
///
/// # Errors
/// The directory can't be read at all. What is wrong in it is in the report.
pub fn verify(directory: &dyn Directory) -> io::Result<Report> {
    let mut report = Report::default();
    packed::check_digests(directory, &mut report)?;
    let set = files::load(directory, &mut report)?;
    tasks::check(&set, &mut report);
    links::check(&set, &mut report);
    memory::check(directory, &set, &mut report);
    packed::check_pages(directory, &set, &mut report);
    report.sort();
    Ok(report)
}

//! The command line of `plimsoll image`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Look at checkpoint images, verify, convert and compare them
///
/// Reads the images of CRIU and those of `plimsoll checkpoint`. Needs no privileges but to read the files.
#[derive(Debug, Args)]
pub(crate) struct Image {
    #[command(subcommand)]
    pub(crate) verb: ImageVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageVerb {
    Show(Show),
    Verify(Verify),
}

/// Show what is in an image, or in a whole set of them
///
/// Of a directory: the processes, and what each file holds. Of a file: every field, by CRIU's names and in the
/// spelling of `crit decode --pretty`. Raw bytes (pages, the content of pipes and files) are shown as their
/// length; with --json all but pages are there, in base64.
#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub(crate) struct Show {
    /// An image, or a directory of images
    pub(crate) path: PathBuf,

    /// Print one JSON document, schema plimsoll.image-show/1; that of a file can be given to `crit encode`
    #[arg(long)]
    pub(crate) json: bool,
}

const SHOW_EXAMPLES: &str = "\
Examples:
  plimsoll image show /var/ckpt/7                what was dumped
  plimsoll image show /var/ckpt/7/mm-77.img      the mappings of process 77
  plimsoll image show --json /var/ckpt/7/core-77.img | jq .entries[0].thread_info.gpregs.ip";

/// Tell a complete set of images from a broken one
///
/// Decodes every image whole and follows what one says of another: each process has its images, each
/// descriptor its file, each run of pages a mapping and its bytes, each parent what is said to lie there. All
/// that is missing, broken or contradictory is named. Exits with 0 if the set is complete, with 4 if not.
#[derive(Debug, Args)]
#[command(after_help = VERIFY_EXAMPLES)]
pub(crate) struct Verify {
    /// A directory of images
    pub(crate) dir: PathBuf,

    /// Print one JSON document, schema plimsoll.image-verify/1
    #[arg(long)]
    pub(crate) json: bool,
}

const VERIFY_EXAMPLES: &str = "\
Examples:
  plimsoll image verify /var/ckpt/7
  plimsoll image verify --json /var/ckpt/7 | jq '.findings[] | select(.weight != \"note\")'";

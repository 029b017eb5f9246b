//! The command line of `plimsoll image`.

use crate::args::Codec;
use clap::{Args, Subcommand, ValueEnum};
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
    Convert(Convert),
    Diff(Diff),
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

/// Write a set of images in another form
///
/// OUT is a new directory; it appears complete and durable, or not at all. All images but pages are copied byte for byte, and
/// a set that was packed and made raw again is the set that it was. OUT has a list of BLAKE3 checksums of its files.
#[derive(Debug, Args)]
#[command(after_help = CONVERT_EXAMPLES)]
pub(crate) struct Convert {
    /// A complete set of images
    pub(crate) dir: PathBuf,

    /// A directory that does not exist yet
    pub(crate) out: PathBuf,

    /// How pages lie in it
    #[arg(long, value_name = "FORM")]
    pub(crate) to: ToForm,

    /// How pages are packed
    #[arg(long, value_name = "CODEC", default_value = "lz4")]
    pub(crate) codec: Codec,

    /// The parent of OUT, if it is not that of DIR; pages that a packed parent holds are not stored again
    #[arg(long, value_name = "DIR")]
    pub(crate) parent: Option<PathBuf>,

    /// Print one JSON document, schema plimsoll.image-convert/1
    #[arg(long)]
    pub(crate) json: bool,
}

const CONVERT_EXAMPLES: &str = "\
Examples:
  plimsoll image convert /var/ckpt/7 /var/ckpt/7.packed --to packed --codec zstd
  plimsoll image convert /var/ckpt/7.packed /tmp/7 --to raw && criu restore -D /tmp/7
  plimsoll image convert /var/ckpt/7 /srv/7 --to lazy && mv /srv/7/pages.later /slow/7.later";

/// How pages lie in a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ToForm {
    /// One after another, as CRIU reads them
    Raw,
    /// Zero pages dropped, equal ones stored once, packed, under checksums
    Packed,
    /// Packed, with what a restore does not need at once in a file of its own, pages.later
    Lazy,
}

/// Compare two sets of images
///
/// Names images that only one set has, fields that differ, and how many pages do; in whatever form each set has its pages.
/// Exits with 0 if they hold the same, with 1 if not.
#[derive(Debug, Args)]
#[command(after_help = DIFF_EXAMPLES)]
pub(crate) struct Diff {
    /// A directory of images
    pub(crate) a: PathBuf,

    /// Another
    pub(crate) b: PathBuf,

    /// Print one JSON document, schema plimsoll.image-diff/1
    #[arg(long)]
    pub(crate) json: bool,
}

const DIFF_EXAMPLES: &str = "\
Examples:
  plimsoll image diff /var/ckpt/7 /var/ckpt/8
  plimsoll image diff --json /var/ckpt/7 /var/ckpt/8 | jq '.memory[].changed_pages'";

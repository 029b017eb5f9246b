//! What `--root` names: a tree that `plimsoll capture` wrote, or a moment of a recording of `plimsoll record`, laid out as
//! such a tree for as long as it is read.

use crate::args::At;
use crate::capture;
use crate::failure::{Failure, Kind};
use plimsoll_proc::Root;
use plimsoll_proc::meminfo::Meminfo;
use plimsoll_record::{Recording, RecordingError};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// A host that is not this one, or not now.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) root: Root,
    /// When it was so, in seconds since 1970; `None` for a tree that does not say.
    pub(crate) unix_s: Option<i64>,
    /// Where the moment is laid out; gone afterwards.
    _laid_out: Option<TempDir>,
}

impl Captured {
    /// Opens what is there.
    pub(crate) fn open(path: &Path, at: Option<At>) -> Result<Self, Failure> {
        if path.is_file() {
            return Self::of_recording(path, at);
        }
        if at.is_some() {
            let what = format_args!("{} is no recording: it has one moment only", path.display());
            return Err(Failure::message(Kind::Usage, what).hint("leave --at out"));
        }
        let root = Root::captured(path)?;
        Ok(Self {
            unix_s: capture::taken_at(&root),
            root,
            _laid_out: None,
        })
    }

    fn of_recording(path: &Path, at: Option<At>) -> Result<Self, Failure> {
        let recording = Recording::read(path)?;
        if recording.damaged_slots() > 0 {
            eprintln!(
                "plimsoll: note: a part of {} is damaged and is left out",
                path.display()
            );
        }
        let last = recording.moments().last();
        let (Some((end, _)), Some(beat)) = (last, beat(&recording, at)) else {
            let what = format_args!("{} holds no moment that can be read", path.display());
            return Err(Failure::message(Kind::Failed, what));
        };
        let mut unix_s = None;
        if let Some((moment, _)) = recording.moments().nth(beat) {
            unix_s = Some(moment.realtime_ns / 1_000_000_000);
            let before = Duration::from_nanos(end.boottime_ns.abs_diff(moment.boottime_ns));
            eprintln!(
                "plimsoll: as it was at {} s since 1970, {:.1} s before the recording's end",
                moment.realtime_ns / 1_000_000_000,
                before.as_secs_f64()
            );
        }
        let laid_out = tempfile::tempdir()?;
        recording.lay_out(beat, laid_out.path())?;
        Ok(Self {
            root: Root::captured(laid_out.path())?,
            unix_s,
            _laid_out: Some(laid_out),
        })
    }
}

fn beat(recording: &Recording, at: Option<At>) -> Option<usize> {
    let ns = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    let (end, _) = recording.moments().last()?;
    recording.at(match at {
        None => i64::MAX,
        Some(At::MostCommitted) => return most_committed(recording),
        // The whole of that second.
        Some(At::Unix(second)) => second
            .saturating_add(1)
            .saturating_mul(1_000_000_000)
            .saturating_sub(1),
        Some(At::BeforeTheEnd(before)) => end.realtime_ns.saturating_sub(ns(before)),
    })
}

/// The beat at which `Committed_AS` stood highest.
fn most_committed(recording: &Recording) -> Option<usize> {
    let committed = |beat: &usize| {
        let files = recording.files(*beat);
        let meminfo = files
            .iter()
            .find(|(path, _)| path == Path::new("proc/meminfo"))?;
        Meminfo::parse(&meminfo.1).committed_as
    };
    (0..recording.moments().count()).max_by_key(committed)
}

impl From<RecordingError> for Failure {
    fn from(error: RecordingError) -> Self {
        let kind = match &error {
            RecordingError::File { source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Kind::NotPermitted
            }
            _ => Kind::Failed,
        };
        Self::new(kind, error)
    }
}

//! The mappings that the kernel itself puts into every address space: the vdso and its data pages. They can be moved
//! (`mremap(2)`), not made; each belongs to the kernel that runs now.

use crate::error::{Error, Step};
use plimsoll_proc::process::map_name::MapName;
use plimsoll_proc::process::maps;
use plimsoll_sys::Span;
use rustix::io::Errno;
use rustix::process::Pid;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KernelMapping {
    pub(crate) span: Span,
    /// `[vdso]`, which holds code; the others are data that it reads.
    pub(crate) is_vdso: bool,
}

/// Those of a task, ascending.
pub(crate) fn of(tid: Pid) -> Result<Vec<KernelMapping>, Error> {
    let path = format!("/proc/{}/maps", tid.as_raw_pid());
    let step = Step::new("read the mappings", tid);
    let text = std::fs::read(path).map_err(|error| step.failed(error))?;
    let found: Vec<_> = maps::parse(&text)
        .flatten()
        .filter_map(|mapping| {
            let span = Span {
                start: mapping.start,
                end: mapping.end,
            };
            let is_vdso = match mapping.name() {
                MapName::Vdso => true,
                MapName::Vvar => false,
                MapName::Special(_) if mapping.raw_name.starts_with(b"[vvar") => false,
                _ => return None,
            };
            Some(KernelMapping { span, is_vdso })
        })
        .collect();
    if found.is_empty() {
        return Err(step.errno(Errno::NOENT));
    }
    Ok(found)
}

/// What all of them span.
pub(crate) fn extent(mappings: &[KernelMapping]) -> Span {
    Span {
        start: mappings.first().map_or(0, |first| first.span.start),
        end: mappings.last().map_or(0, |last| last.span.end),
    }
}

//! A hand: a process that does one task after the other until the guard is gone.

use super::work::{Tools, WorkError};
use super::{LONGEST_PACKET, Task, pack, task};
use crate::observation::{Deed, Ended, Outcome, Standing};
use crate::watch::all;
use plimsoll_units::Bytes;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

/// Does tasks until the other end of `socket` is closed. Whoever `thaws` then lets everything run again that is frozen: nobody
/// would be there to do it.
///
/// # Errors
/// When the socket fails in any other way.
pub fn serve(socket: impl AsFd, tools: &Tools, thaws: bool) -> Result<(), Errno> {
    // The quick one has to be there at once.
    if !thaws {
        tools.take_up();
    }
    let mut packet = vec![0; LONGEST_PACKET];
    loop {
        let length = match recv(&socket, packet.as_mut_slice(), RecvFlags::empty()) {
            Err(Errno::INTR) => continue,
            Err(Errno::CONNRESET) | Ok((_, 0)) => break,
            received => received?.1,
        };
        let Some((task, path)) = packet.get(..length).and_then(task) else {
            continue; // who sent it will find it overdue
        };
        let answer = answer(tools, &task, path);
        match send(&socket, &answer, SendFlags::NOSIGNAL) {
            Err(Errno::PIPE | Errno::CONNRESET) => break,
            sent => sent?,
        };
    }
    if thaws {
        release(tools);
    }
    Ok(())
}

fn answer(tools: &Tools, task: &Task, path: &OsStr) -> Vec<u8> {
    let begun = Instant::now();
    let done = tools.perform(task, path);
    let outcome = Outcome {
        id: task.id,
        of: task.deed,
        ended: done.as_ref().map_or_else(WorkError::ended, |_| Ended::Done),
        freed_bytes: done.as_ref().copied().unwrap_or(Bytes::ZERO),
        took_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    let words = done.err().map_or_else(String::new, |error| chain(&error));
    fitting(&outcome, words)
}

/// A packet, with as much of the words as there is room for.
fn fitting(outcome: &Outcome, mut words: String) -> Vec<u8> {
    let mut room = vec![0; LONGEST_PACKET];
    loop {
        if let Some(packet) = pack(&mut room, outcome, words.as_bytes()) {
            return packet.to_vec();
        }
        words.truncate(words.floor_char_boundary(words.len() / 2));
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let words: Vec<_> = causes.map(ToString::to_string).collect();
    words.join(": ").replace('\n', "; ")
}

/// Lets everything run again that the guard has frozen. Gives how many, and what could not be.
pub fn release(tools: &Tools) -> (usize, Vec<String>) {
    let (mut released, mut failed) = (0, Vec::new());
    let run = Path::new(&tools.policy.files.run);
    let noted = match all(run) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            failed.push(format!("what is noted in {}: {error}", run.display()));
            Vec::new()
        }
        noted => noted.unwrap_or_default(),
    };
    for (stopped, path) in noted {
        if stopped.standing != Standing::Frozen {
            continue;
        }
        let task = Task {
            id: stopped.id,
            deed: Deed::Thaw,
            cause: stopped.cause,
            was_idle: stopped.was_idle,
            extent: Default::default(),
            rule: None,
            expected_bytes: Bytes::ZERO,
        };
        match tools.perform(&task, &path) {
            Ok(_) => released += 1,
            Err(error) => failed.push(format!("{}: {}", path.display(), chain(&error))),
        }
    }
    (released, failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hand::outcome;
    use crate::observation::Id;

    #[test]
    fn words_of_any_length_are_cut_to_what_fits() {
        let said = chain(&WorkError::Said("ä\n".repeat(20_000)));
        assert!(!said.contains('\n'));
        let made = Outcome {
            id: Id::Group(1),
            of: Deed::Thaw,
            ended: Ended::Failed,
            freed_bytes: Bytes::ZERO,
            took_ms: 0,
        };
        let packet = fitting(&made, said);
        let (read, words) = outcome(&packet).unwrap();
        assert_eq!(read, made);
        assert!(words.len() > 1000 && std::str::from_utf8(words).is_ok());
    }
}

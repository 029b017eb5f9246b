//! The guard's side of its hands: a quick one for what is done at once (freeze, thaw, kill), and slow ones for all else. A hand
//! that is overdue is killed and replaced; that takes a fork, so it waits until things are calmer, unless it is the quick one.

use super::{LONGEST_PACKET, Task, outcome, pack};
use crate::decider::{HANDS, is_slow};
use crate::observation::{Ended, Id, Outcome};
use plimsoll_units::Bytes;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use std::io;
use std::process::Child;

/// All hands: the quick one first.
pub const CREW: usize = HANDS + 1;

/// The quick one does nothing that takes long.
const QUICK_DEADLINE_MS: u64 = 2000;

/// Starts a hand, with its end of the socket; the quick one is told that it is.
pub type Hire<'h> = dyn FnMut(OwnedFd, bool) -> io::Result<Child> + 'h;

/// One hand.
#[derive(Debug)]
struct Seat {
    hand: Option<(Child, OwnedFd)>,
    busy: Option<(Task, u64)>,
    /// One that was killed and has not ended yet: it may be stuck in the kernel, and is waited for, or it would stay a zombie.
    leaves: Option<Child>,
}

/// All of them.
#[derive(Debug)]
pub struct Crew {
    seats: [Seat; CREW],
    packet: Vec<u8>,
}

/// A pair of sockets that keep packets apart.
///
/// # Errors
/// As `socketpair(2)`.
pub fn packets() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
}

impl Crew {
    /// Starts all of them.
    ///
    /// # Errors
    /// When one can't be started.
    pub fn start(hire: &mut Hire<'_>) -> io::Result<Self> {
        let empty = || Seat {
            hand: None,
            busy: None,
            leaves: None,
        };
        let mut crew = Self {
            seats: std::array::from_fn(|_| empty()),
            packet: vec![0; LONGEST_PACKET],
        };
        crew.fill(hire)?;
        Ok(crew)
    }

    /// Starts those that are missing. Gives how many that were.
    ///
    /// # Errors
    /// When one can't be started.
    pub fn fill(&mut self, hire: &mut Hire<'_>) -> io::Result<usize> {
        let mut started = 0;
        for (place, seat) in self.seats.iter_mut().enumerate() {
            if seat.hand.is_none() {
                let (ours, theirs) = packets()?;
                seat.hand = Some((hire(theirs, place == 0)?, ours));
                started += 1;
            }
        }
        Ok(started)
    }

    /// Whether the quick one is missing: without it nothing is thawed when the guard goes.
    #[must_use]
    pub fn lacks_the_quick_one(&self) -> bool {
        self.seats.first().is_some_and(|seat| seat.hand.is_none())
    }

    /// Whether any is missing.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.seats.iter().any(|seat| seat.hand.is_none())
    }

    /// The processes, that they may be spared.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.seats
            .iter()
            .filter_map(|seat| Some(seat.hand.as_ref()?.0.id()))
    }

    /// Whom they are at.
    pub fn under_way(&self) -> [Option<Id>; CREW] {
        std::array::from_fn(|place| Some(self.seats.get(place)?.busy.as_ref()?.0.id))
    }

    /// What is to be waited for; as many as there are seats.
    pub fn sockets(&self) -> [Option<BorrowedFd<'_>>; CREW] {
        std::array::from_fn(|place| {
            let seat = self.seats.get(place)?;
            Some(seat.hand.as_ref()?.1.as_fd())
        })
    }

    /// Gives a task to a hand that is free. False when there is none.
    pub fn give(&mut self, task: &Task, path: &[u8], now_ms: u64) -> bool {
        let Self { seats, packet } = self;
        let Some(packet) = pack(packet, task, path) else {
            return false;
        };
        let (quick, slow) = seats.split_at_mut(1);
        let able = if is_slow(task.deed) { slow } else { quick };
        let free = able
            .iter_mut()
            .find(|seat| seat.busy.is_none() && seat.hand.is_some());
        let Some(seat) = free else { return false };
        let Some((_, socket)) = &seat.hand else {
            return false;
        };
        let sent = send(socket, packet, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).is_ok();
        if sent {
            seat.busy = Some((*task, now_ms));
        }
        sent
    }

    /// Takes what the hands have to say, and ends those that are overdue. `told` gets each outcome with its words.
    pub fn hear(&mut self, now_ms: u64, deadline_ms: u64, told: &mut dyn FnMut(&Outcome, &[u8])) {
        let Self { seats, packet } = self;
        for (place, seat) in seats.iter_mut().enumerate() {
            seat.leaves
                .take_if(|child| !matches!(child.try_wait(), Ok(None)));
            let Some((child, socket)) = &mut seat.hand else {
                continue;
            };
            match recv(&*socket, packet.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok((_, length @ 1..)) => {
                    if let Some((outcome, words)) = packet.get(..length).and_then(outcome) {
                        seat.busy = None;
                        told(&outcome, words);
                    }
                    continue;
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Ok(_) | Err(_) => {
                    let _ = child.wait(); // it has closed its socket by ending
                    seat.hand = None;
                    seat.give_up(
                        now_ms,
                        Ended::Failed,
                        b"the helper that was at it has ended",
                        told,
                    );
                    continue;
                }
            }
            let limit = if place == 0 {
                QUICK_DEADLINE_MS
            } else {
                deadline_ms
            };
            let overdue = seat
                .busy
                .is_some_and(|(_, since)| now_ms.saturating_sub(since) > limit);
            if overdue {
                let _ = child.kill(); // what is stuck in the kernel ends when it comes back
                seat.leaves = seat.hand.take().map(|(child, _)| child);
                seat.give_up(
                    now_ms,
                    Ended::Overdue,
                    b"it had not ended in time: the helper was killed",
                    told,
                );
            }
        }
    }
}

impl Seat {
    fn give_up(
        &mut self,
        now_ms: u64,
        ended: Ended,
        words: &[u8],
        told: &mut dyn FnMut(&Outcome, &[u8]),
    ) {
        if let Some((task, since)) = self.busy.take() {
            let outcome = Outcome {
                id: task.id,
                of: task.deed,
                ended,
                freed_bytes: Bytes::ZERO,
                took_ms: now_ms.saturating_sub(since),
            };
            told(&outcome, words);
        }
    }
}

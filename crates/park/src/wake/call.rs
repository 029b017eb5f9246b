//! What a system call waits for: a decoder, fed with a call's number and arguments and with the memory that they
//! point to (the calls' own pages of section 2).
//!
//! Descriptors come with the events of `poll(2)`, whose bits are those of `epoll(7)`. Timeouts come in the kinds
//! that the kernel has: absolute; the whole of a relative one; or what was left of it when it was interrupted,
//! where the kernel writes that back (`select(2)`, `ppoll(2)`, `nanosleep(2)`).

use super::{Clock, Deadline};
use plimsoll_sys::remote::Syscall;
use rustix::event::epoll::EventFlags;

/// What a thread waits for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Sleep {
    /// Descriptors, each with the events.
    pub(super) descriptors: Vec<(i32, EventFlags)>,
    /// When it ends by itself.
    pub(super) ends: Ends,
    /// Signals that it takes without a handler: bit `n - 1` is signal `n`.
    pub(super) signals: u64,
}

/// When a sleep ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Ends {
    /// Never.
    #[default]
    Never,
    /// At an instant.
    At(Deadline),
    /// So many nanoseconds after it was interrupted.
    Left(u64),
    /// So many nanoseconds after it began.
    Whole(u64),
}

/// Reads the target's memory at an address into the whole slice; `None` where that fails.
pub(super) trait Memory {
    fn read(&self, address: u64, into: &mut [u8]) -> Option<()>;
}

/// What a call waits for, beside time.
#[derive(Debug, Clone, Copy)]
enum For {
    /// Nothing that can be seen from outside: children, a futex, a disk.
    Unseen,
    /// Something to be read from the descriptor in this argument.
    Input(usize),
    /// Room to write to it.
    Room(usize),
    /// `struct pollfd *`, count.
    Poll,
    /// A count, then three sets.
    Select,
    /// One of the signals of the set that this argument points to.
    Signals(usize),
}

/// Where a call keeps its timeout.
#[derive(Debug, Clone, Copy)]
enum Until {
    Forever,
    /// Milliseconds; negative is for ever.
    Millis(usize),
    /// `struct timespec *`, never written to; null is for ever.
    Timespec(usize),
    /// `struct timespec *` that holds what is left after an interruption.
    TimespecLeft(usize),
    /// `struct timeval *` that holds what is left after an interruption.
    TimevalLeft(usize),
    /// `struct timespec *` on this clock.
    On(usize, Clock),
    /// `struct timespec *`, on the clock that the other argument names.
    OnNamed(usize, usize),
    Nanosleep,
    ClockNanosleep,
    Futex,
}

/// Every call that a thread is known to sleep in.
const CALLS: &[(libc::c_long, For, Until)] = &[
    (libc::SYS_read, For::Input(0), Until::Forever),
    (libc::SYS_readv, For::Input(0), Until::Forever),
    (libc::SYS_preadv2, For::Input(0), Until::Forever),
    (libc::SYS_recvfrom, For::Input(0), Until::Forever),
    (libc::SYS_recvmsg, For::Input(0), Until::Forever),
    (libc::SYS_recvmmsg, For::Input(0), Until::Forever),
    (libc::SYS_accept, For::Input(0), Until::Forever),
    (libc::SYS_accept4, For::Input(0), Until::Forever),
    (libc::SYS_write, For::Room(0), Until::Forever),
    (libc::SYS_writev, For::Room(0), Until::Forever),
    (libc::SYS_pwritev2, For::Room(0), Until::Forever),
    (libc::SYS_sendto, For::Room(0), Until::Forever),
    (libc::SYS_sendmsg, For::Room(0), Until::Forever),
    (libc::SYS_sendmmsg, For::Room(0), Until::Forever),
    (libc::SYS_sendfile, For::Room(0), Until::Forever),
    (libc::SYS_connect, For::Room(0), Until::Forever),
    (libc::SYS_poll, For::Poll, Until::Millis(2)),
    (libc::SYS_ppoll, For::Poll, Until::TimespecLeft(2)),
    (libc::SYS_select, For::Select, Until::TimevalLeft(4)),
    (libc::SYS_pselect6, For::Select, Until::TimespecLeft(4)),
    (libc::SYS_epoll_wait, For::Input(0), Until::Millis(3)),
    (libc::SYS_epoll_pwait, For::Input(0), Until::Millis(3)),
    (libc::SYS_epoll_pwait2, For::Input(0), Until::Timespec(3)),
    (libc::SYS_nanosleep, For::Unseen, Until::Nanosleep),
    (
        libc::SYS_clock_nanosleep,
        For::Unseen,
        Until::ClockNanosleep,
    ),
    (libc::SYS_futex, For::Unseen, Until::Futex),
    (FUTEX_WAIT, For::Unseen, Until::OnNamed(4, 5)),
    (libc::SYS_futex_waitv, For::Unseen, Until::OnNamed(3, 4)),
    (libc::SYS_wait4, For::Unseen, Until::Forever),
    (libc::SYS_waitid, For::Unseen, Until::Forever),
    (libc::SYS_pause, For::Unseen, Until::Forever),
    (libc::SYS_rt_sigsuspend, For::Unseen, Until::Forever),
    (
        libc::SYS_rt_sigtimedwait,
        For::Signals(0),
        Until::Timespec(2),
    ),
    (libc::SYS_io_getevents, For::Unseen, Until::Timespec(4)),
    (libc::SYS_semop, For::Unseen, Until::Forever),
    (libc::SYS_semtimedop, For::Unseen, Until::Timespec(3)),
    (libc::SYS_msgrcv, For::Unseen, Until::Forever),
    (libc::SYS_msgsnd, For::Unseen, Until::Forever),
    (
        libc::SYS_mq_timedreceive,
        For::Input(0),
        Until::On(4, Clock::Realtime),
    ),
    (
        libc::SYS_mq_timedsend,
        For::Room(0),
        Until::On(4, Clock::Realtime),
    ),
    (libc::SYS_flock, For::Unseen, Until::Forever),
];

/// `futex_wait(2)` of Linux 6.7, which libc has no name for.
const FUTEX_WAIT: libc::c_long = 455;

/// Most descriptors of one call that are looked at.
const MOST: u64 = 1 << 16;

const INPUT: EventFlags = EventFlags::IN.union(EventFlags::RDHUP);
const ROOM: EventFlags = EventFlags::OUT;

/// What `call` waits for; `None` for one that nobody is known to sleep in, or whose arguments can't be read.
pub(super) fn decode(call: &Syscall, memory: &impl Memory) -> Option<Sleep> {
    let (_, waits_for, until) = CALLS
        .iter()
        .find(|(number, ..)| number.unsigned_abs() == call.number)?;
    let reader = Arguments { call, memory };
    let mut sleep = Sleep {
        ends: reader.ends(*until)?,
        ..Sleep::default()
    };
    match *waits_for {
        For::Unseen => {}
        For::Input(at) => sleep.descriptors.push((reader.descriptor(at)?, INPUT)),
        For::Room(at) => sleep.descriptors.push((reader.descriptor(at)?, ROOM)),
        For::Poll => sleep.descriptors = reader.poll()?,
        For::Select => sleep.descriptors = reader.select()?,
        For::Signals(at) => sleep.signals = reader.word(reader.argument(at)?)?,
    }
    Some(sleep)
}

/// Whether how long ago a call began can matter: it has a relative timeout of which the kernel may not tell the rest.
pub(super) fn counts_from_its_beginning(call: &Syscall) -> bool {
    let mut known = CALLS.iter();
    let found = known.find(|(number, ..)| number.unsigned_abs() == call.number);
    matches!(
        found,
        Some((
            _,
            _,
            Until::Millis(_)
                | Until::Timespec(_)
                | Until::Nanosleep
                | Until::ClockNanosleep
                | Until::Futex
        ))
    )
}

/// The number of the call that `restart_syscall(2)` goes on with, by the kernel function that the thread sleeps in
/// (`/proc/PID/wchan`) and its arguments.
pub(super) fn restarted(wchan: &[u8], args: &[u64; 6]) -> Option<u64> {
    let named = |name: &[u8]| wchan.windows(name.len()).any(|part| part == name);
    let number = if named(b"nanosleep") {
        // `clock_nanosleep(2)` begins with the number of a clock, `nanosleep(2)` with an address.
        let [first, ..] = args;
        if *first < 16 {
            libc::SYS_clock_nanosleep
        } else {
            libc::SYS_nanosleep
        }
    } else if named(b"poll") {
        libc::SYS_poll
    } else if named(b"futex") {
        libc::SYS_futex
    } else {
        return None;
    };
    Some(number.unsigned_abs())
}

/// The arguments of a call, and what they point to.
struct Arguments<'c, M> {
    call: &'c Syscall,
    memory: &'c M,
}

impl<M: Memory> Arguments<'_, M> {
    fn argument(&self, at: usize) -> Option<u64> {
        self.call.args.get(at).copied()
    }

    /// An argument that the kernel takes for an `int`.
    fn int(&self, at: usize) -> Option<i32> {
        Some(low_half(self.argument(at)?).cast_signed())
    }

    fn descriptor(&self, at: usize) -> Option<i32> {
        self.int(at).filter(|fd| *fd >= 0)
    }

    fn word(&self, address: u64) -> Option<u64> {
        let mut word = [0; 8];
        self.memory.read(address, &mut word)?;
        Some(u64::from_ne_bytes(word))
    }

    fn poll(&self) -> Option<Vec<(i32, EventFlags)>> {
        let count = self.argument(1)?;
        if count > MOST {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(count.checked_mul(8)?).ok()?];
        self.memory.read(self.argument(0)?, &mut bytes)?;
        let (entries, _) = bytes.as_chunks::<8>();
        let waited = entries.iter().map(|entry| {
            let [a, b, c, d, e, f, ..] = *entry;
            let events = u32::from(u16::from_ne_bytes([e, f]));
            (
                i32::from_ne_bytes([a, b, c, d]),
                EventFlags::from_bits_retain(events) & POLLED,
            )
        });
        Some(waited.filter(|(fd, _)| *fd >= 0).collect())
    }

    fn select(&self) -> Option<Vec<(i32, EventFlags)>> {
        let count = self.argument(0)?;
        if count > MOST {
            return None;
        }
        let mut waited = Vec::new();
        for (at, events) in [(1, INPUT), (2, ROOM), (3, EventFlags::PRI)] {
            let address = self.argument(at)?;
            if address == 0 {
                continue;
            }
            // Whole words, as the kernel reads them.
            for word in 0..count.div_ceil(64) {
                let bits = self.word(address.checked_add(word.checked_mul(8)?)?)?;
                let set = (0..64).filter(|bit| bits >> bit & 1 == 1);
                let fds = set.map(|bit| word * 64 + bit).filter(|fd| *fd < count);
                waited.extend(fds.filter_map(|fd| Some((i32::try_from(fd).ok()?, events))));
            }
        }
        Some(waited)
    }

    fn ends(&self, until: Until) -> Option<Ends> {
        Some(match until {
            Until::Forever => Ends::Never,
            Until::Millis(at) => match u64::try_from(self.int(at)?) {
                Ok(millis) => Ends::Whole(millis.saturating_mul(1_000_000)),
                Err(_) => Ends::Never,
            },
            Until::Timespec(at) => self.time(at, 1)?.map_or(Ends::Never, Ends::Whole),
            Until::TimespecLeft(at) => self.time(at, 1)?.map_or(Ends::Never, Ends::Left),
            Until::TimevalLeft(at) => self.time(at, 1000)?.map_or(Ends::Never, Ends::Left),
            Until::On(at, clock) => self.at(at, clock)?,
            Until::OnNamed(at, name) => self.at(at, Clock::numbered(self.argument(name)?)?)?,
            Until::Nanosleep => self.left_or_whole(0, 1)?,
            Until::ClockNanosleep if self.argument(1)? & TIMER_ABSTIME != 0 => {
                self.at(2, Clock::numbered(self.argument(0)?)?)?
            }
            Until::ClockNanosleep => self.left_or_whole(2, 3)?,
            Until::Futex => self.futex()?,
        })
    }

    /// A relative sleep tells what is left of it where the program asked for that.
    fn left_or_whole(&self, asked: usize, left: usize) -> Option<Ends> {
        match self.time(left, 1)? {
            Some(left) => Some(Ends::Left(left)),
            None => Some(Ends::Whole(self.time(asked, 1)??)),
        }
    }

    fn futex(&self) -> Option<Ends> {
        const REALTIME: u64 = 256;
        let operation = self.argument(1)?;
        let named = match operation & REALTIME {
            0 => Clock::Monotonic,
            _ => Clock::Realtime,
        };
        match operation & 0x7f {
            0 => Some(self.time(3, 1)?.map_or(Ends::Never, Ends::Whole)), // FUTEX_WAIT
            9 | 11 | 13 => self.at(3, named), // WAIT_BITSET, WAIT_REQUEUE_PI, LOCK_PI2
            6 => self.at(3, Clock::Realtime), // LOCK_PI
            _ => None,
        }
    }

    fn at(&self, at: usize, clock: Clock) -> Option<Ends> {
        Some(match self.time(at, 1)? {
            None => Ends::Never,
            Some(at_ns) => Ends::At(Deadline { clock, at_ns }),
        })
    }

    /// Seconds and a fraction that counts so many nanoseconds each; `None` inside for a null pointer.
    fn time(&self, at: usize, fraction_ns: u64) -> Option<Option<u64>> {
        let address = self.argument(at)?;
        if address == 0 {
            return Some(None);
        }
        let seconds = self.word(address)?;
        let fraction = self.word(address.checked_add(8)?)?;
        let whole_ns = seconds.saturating_mul(1_000_000_000);
        Some(Some(
            whole_ns.saturating_add(fraction.saturating_mul(fraction_ns)),
        ))
    }
}

const TIMER_ABSTIME: u64 = 1;

/// The bits that `poll(2)` and `epoll(7)` share.
const POLLED: EventFlags = EventFlags::IN
    .union(EventFlags::PRI)
    .union(EventFlags::OUT)
    .union(EventFlags::RDNORM)
    .union(EventFlags::RDBAND)
    .union(EventFlags::WRNORM)
    .union(EventFlags::WRBAND)
    .union(EventFlags::MSG)
    .union(EventFlags::RDHUP);

fn low_half(word: u64) -> u32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory that begins at 0x1000.
    struct Page(Vec<u8>);

    impl Memory for Page {
        fn read(&self, address: u64, into: &mut [u8]) -> Option<()> {
            let start = usize::try_from(address.checked_sub(0x1000)?).ok()?;
            let from = self.0.get(start..start.checked_add(into.len())?)?;
            into.copy_from_slice(from);
            Some(())
        }
    }

    fn words(words: &[u64]) -> Page {
        Page(words.iter().flat_map(|word| word.to_ne_bytes()).collect())
    }

    fn sleep<const N: usize>(number: libc::c_long, args: [u64; N], page: &Page) -> Option<Sleep> {
        decode(&Syscall::new(number, args), page)
    }

    fn ends<const N: usize>(number: libc::c_long, args: [u64; N], page: &Page) -> Ends {
        sleep(number, args, page).unwrap().ends
    }

    #[test]
    fn descriptors_and_their_events() {
        let none = words(&[]);
        for (number, events) in [
            (libc::SYS_read, INPUT),
            (libc::SYS_accept4, INPUT),
            (libc::SYS_recvmsg, INPUT),
            (libc::SYS_write, ROOM),
            (libc::SYS_sendto, ROOM),
        ] {
            let slept = sleep(number, [5, 0x1000, 9], &none).unwrap();
            assert_eq!(slept.descriptors, [(5, events)], "{number}");
            assert_eq!(slept.ends, Ends::Never);
        }
        assert_eq!(sleep(libc::SYS_read, [u64::MAX], &none), None);
        assert_eq!(sleep(libc::SYS_getpid, [], &none), None);
        let slept = sleep(libc::SYS_wait4, [u64::MAX, 0, 0, 0], &none).unwrap();
        assert_eq!(slept, Sleep::default());
    }

    #[test]
    fn poll_arrays_are_read() {
        // {7, POLLIN}, {-1, POLLIN}, {8, POLLOUT | POLLPRI}
        let entry = |fd: i32, events: u64| u64::from(fd.cast_unsigned()) | events << 32;
        let page = words(&[entry(7, 1), entry(-1, 1), entry(8, 6)]);
        let slept = sleep(libc::SYS_poll, [0x1000, 3, 250], &page).unwrap();
        let out_or_urgent = EventFlags::OUT | EventFlags::PRI;
        assert_eq!(slept.descriptors, [(7, EventFlags::IN), (8, out_or_urgent)]);
        assert_eq!(slept.ends, Ends::Whole(250_000_000));
        let forever = u64::from((-1i32).cast_unsigned());
        let slept = sleep(libc::SYS_poll, [0x1000, 1, forever], &page).unwrap();
        assert_eq!(slept.ends, Ends::Never);
        assert_eq!(sleep(libc::SYS_poll, [0x1000, 4, 0], &page), None);
        assert_eq!(sleep(libc::SYS_poll, [0x1000, u64::MAX, 0], &page), None);
    }

    #[test]
    fn select_sets_are_read() {
        // Read set {1, 64}, write set {2}; a bit beyond the count is nobody's.
        let page = words(&[1 << 1 | 1 << 9, 1, 1 << 2, 0, 12, 500_000]);
        let args = [65, 0x1000, 0x1010, 0, 0x1020];
        let slept = sleep(libc::SYS_select, args, &page).unwrap();
        assert_eq!(
            slept.descriptors,
            [(1, INPUT), (9, INPUT), (64, INPUT), (2, ROOM)]
        );
        assert_eq!(slept.ends, Ends::Left(12_500_000_000));
        let nanoseconds = sleep(libc::SYS_pselect6, args, &page).unwrap();
        assert_eq!(nanoseconds.ends, Ends::Left(12_000_500_000));
        assert_eq!(sleep(libc::SYS_select, [65, 0x2000, 0, 0, 0], &page), None);
    }

    #[test]
    fn timeouts_of_every_kind() {
        let page = words(&[30, 5, 2, 7]);
        let whole = Ends::Whole(30_000_000_005);
        let left = Ends::Left(2_000_000_007);
        let at = |clock| {
            let at_ns = 30_000_000_005;
            Ends::At(Deadline { clock, at_ns })
        };
        assert_eq!(ends(libc::SYS_nanosleep, [0x1000, 0], &page), whole);
        assert_eq!(ends(libc::SYS_nanosleep, [0x1000, 0x1010], &page), left);
        let clock_nanosleep = libc::SYS_clock_nanosleep;
        assert_eq!(ends(clock_nanosleep, [0, 0, 0x1000, 0], &page), whole);
        assert_eq!(ends(clock_nanosleep, [1, 0, 0x1000, 0x1010], &page), left);
        assert_eq!(
            ends(clock_nanosleep, [1, 1, 0x1000, 0x1010], &page),
            at(Clock::Monotonic)
        );
        assert_eq!(
            ends(libc::SYS_epoll_wait, [3, 0, 0, 30], &page),
            Ends::Whole(30_000_000)
        );
        assert_eq!(
            ends(libc::SYS_epoll_pwait2, [3, 0, 0, 0x1000], &page),
            whole
        );
        assert_eq!(ends(libc::SYS_futex, [0, 128, 0, 0], &page), Ends::Never);
        assert_eq!(ends(libc::SYS_futex, [0, 128, 0, 0x1000], &page), whole);
        assert_eq!(
            ends(libc::SYS_futex, [0, 128 | 9, 0, 0x1000], &page),
            at(Clock::Monotonic)
        );
        assert_eq!(
            ends(libc::SYS_futex, [0, 256 | 9, 0, 0x1000], &page),
            at(Clock::Realtime)
        );
        assert_eq!(
            sleep(libc::SYS_futex, [0, 1, 0, 0], &page),
            None,
            "it wakes others"
        );
        assert_eq!(sleep(libc::SYS_nanosleep, [0, 0], &page), None, "it fails");
    }

    #[test]
    fn signals_waited_for() {
        let page = words(&[1 << 14]);
        let slept = sleep(libc::SYS_rt_sigtimedwait, [0x1000, 0, 0, 8], &page).unwrap();
        assert_eq!(slept.signals, 1 << 14);
    }

    #[test]
    fn restarted_calls_are_known_by_where_they_sleep() {
        let nanosleep = Some(libc::SYS_nanosleep.unsigned_abs());
        let clock_nanosleep = Some(libc::SYS_clock_nanosleep.unsigned_abs());
        let args = |first| [first, 0, 0x7ffc_0000, 0, 0, 0];
        assert_eq!(
            restarted(b"hrtimer_nanosleep", &args(0x7ffc_0000)),
            nanosleep
        );
        assert_eq!(restarted(b"hrtimer_nanosleep", &args(1)), clock_nanosleep);
        let poll = Some(libc::SYS_poll.unsigned_abs());
        assert_eq!(
            restarted(b"poll_schedule_timeout.constprop.0", &args(0)),
            poll
        );
        assert_eq!(restarted(b"0", &args(0)), None);
    }
}

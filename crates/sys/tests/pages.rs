//! Pages seen and filled: pagemap and userfaultfd on memory of our own.
//!
//! # Safety
//! Each test maps memory for itself, which nothing else refers to, and unmaps it at its end.
#![allow(unsafe_code)]

use plimsoll_sys::Span;
use plimsoll_sys::pagemap::{Page, Pagemap, Run};
use plimsoll_sys::uffd::{
    CreateFlags, Event, Events, Features, Fill, Halt, Mode, Modes, Uffd, create_here,
};
use plimsoll_sys::vm;
use plimsoll_testkit::need;
use plimsoll_units::PageSize;
use rustix::mm::{MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use rustix::process::getpid;

/// Anonymous memory, gone when this is dropped.
struct Memory {
    span: Span,
    page: u64,
}

impl Memory {
    fn of_pages(pages: u64) -> Self {
        let page = rustix::param::page_size() as u64;
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        let length = usize::try_from(pages * page).unwrap();
        // SAFETY: a fresh private mapping, placed by the kernel.
        let at = unsafe { mmap_anonymous(std::ptr::null_mut(), length, flags, MapFlags::PRIVATE) };
        let span = Span::new(at.unwrap() as u64, length as u64);
        Self { span, page }
    }

    fn at(&self, page: u64) -> u64 {
        self.span.start + page * self.page
    }

    fn pages(&self, from: u64, to: u64) -> Span {
        Span {
            start: self.at(from),
            end: self.at(to),
        }
    }

    /// Writes a byte, as any writer would: what is absent comes in.
    fn write(&self, page: u64, byte: u8) {
        assert_eq!(vm::write(getpid(), self.at(page), &[byte]), Ok(1));
    }

    fn read(&self, page: u64) -> u8 {
        let mut byte = [0];
        assert_eq!(
            vm::read(getpid(), &[self.pages(page, page + 1)], &mut byte),
            Ok(1)
        );
        byte[0]
    }

    fn advise(&self, from: u64, to: u64, advice: rustix::mm::Advice) {
        let span = self.pages(from, to);
        let length = usize::try_from(span.len()).unwrap();
        // SAFETY: pages of this mapping, to which there are no references.
        unsafe { madvise(span.start as *mut _, length, advice) }.unwrap();
    }

    fn armed(&self, features: Features) -> Uffd {
        let fd = create_here(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        let uffd = Uffd::handshake(fd, features).unwrap();
        uffd.register(self.span, Modes::MISSING).unwrap();
        uffd
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let length = usize::try_from(self.span.len()).unwrap_or_default();
        // SAFETY: the mapping made above, to which there are no references.
        let _ = unsafe { munmap(self.span.start as *mut _, length) };
    }
}

fn runs(memory: &Memory) -> Vec<Run> {
    let mut runs = Vec::new();
    let size = PageSize::new(memory.page).unwrap();
    let pagemap = Pagemap::open(getpid(), size).unwrap();
    pagemap.runs(memory.span, |run| runs.push(run)).unwrap();
    runs
}

#[test]
fn runs_are_what_was_written() {
    let memory = Memory::of_pages(64);
    memory.advise(0, 64, rustix::mm::Advice::LinuxNoHugepage);
    for page in [3, 4, 5, 40] {
        memory.write(page, 1);
    }
    memory.read(10); // the zero page
    let size = PageSize::new(memory.page).unwrap();
    let mut words = Vec::new();
    let pagemap = Pagemap::open(getpid(), size).unwrap();
    let note = |at, entry: plimsoll_sys::pagemap::Entry| {
        if entry.present() {
            words.push((at, entry.exclusive()));
        }
    };
    pagemap.entries(memory.span, note).unwrap();
    let expected = [(3, true), (4, true), (5, true), (10, false), (40, true)];
    assert_eq!(
        words,
        expected.map(|(page, exclusive)| (memory.at(page), exclusive))
    );
    let run = |from, to, page| Run {
        span: memory.pages(from, to),
        page,
    };
    let [first, .., last] = runs(&memory)[..] else {
        panic!()
    };
    assert_eq!(first, run(3, 6, Page::Exclusive));
    assert_eq!(last, run(40, 41, Page::Exclusive));
}

#[test]
fn fills_go_as_far_as_they_can() {
    need!(Userfaultfd);
    let memory = Memory::of_pages(8);
    let uffd = memory.armed(Features::empty());
    let page = usize::try_from(memory.page).unwrap();
    let full = |pages: u64| Fill {
        done_bytes: pages * memory.page,
        halt: None,
    };
    let halted = |pages: u64, halt| Fill {
        done_bytes: pages * memory.page,
        halt: Some(halt),
    };
    assert_eq!(
        uffd.copy(memory.at(2), &vec![7; page], Mode::empty()),
        full(1)
    );
    // Two pages, then one that is there: partial first, then the reason.
    let three = vec![9; 3 * page];
    assert_eq!(
        uffd.copy(memory.at(0), &three, Mode::empty()),
        halted(2, Halt::Partial)
    );
    assert_eq!(
        uffd.copy(memory.at(2), &three[..page], Mode::empty()),
        halted(0, Halt::Exists)
    );
    assert_eq!(uffd.zeropage(memory.pages(3, 8), Mode::DONTWAKE), full(5));
    assert_eq!(
        [0, 1, 2, 3, 7].map(|page| memory.read(page)),
        [9, 9, 7, 0, 0]
    );
    // Disarmed: nothing of ours is there any more.
    uffd.unregister(memory.span).unwrap();
    memory.advise(0, 1, rustix::mm::Advice::LinuxDontNeed);
    assert_eq!(
        uffd.copy(memory.at(0), &three[..page], Mode::empty()),
        halted(0, Halt::Unmapped)
    );
}

#[test]
fn an_unread_event_comes_before_any_fill() {
    need!(Userfaultfd);
    let memory = Memory::of_pages(4);
    let uffd = memory.armed(Features::EVENT_REMOVE);
    let page = usize::try_from(memory.page).unwrap();
    let mut events = Events::default();
    std::thread::scope(|scope| {
        // Its madvise(2) waits until the event has been read.
        let dropper = scope.spawn(|| memory.advise(1, 3, rustix::mm::Advice::LinuxDontNeed));
        while uffd.copy(memory.at(0), &vec![1; page], Mode::empty()).halt != Some(Halt::Changing) {
            std::thread::yield_now();
        }
        let read: Vec<Event> = events.read(&uffd).unwrap().collect();
        assert!(
            matches!(read[..], [Event::Remove(span)] if span == memory.pages(1, 3)),
            "{read:?}"
        );
        dropper.join().unwrap();
    });
    assert_eq!(events.read(&uffd).unwrap().count(), 0);
}

#[test]
fn a_fault_is_told_and_answered() {
    need!(Userfaultfd);
    let memory = Memory::of_pages(2);
    let uffd = memory.armed(Features::THREAD_ID);
    let page = usize::try_from(memory.page).unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| memory.read(1));
        let mut events = Events::default();
        let fault = loop {
            if let Some(Event::Pagefault(fault)) = events.read(&uffd).unwrap().next() {
                break fault;
            }
        };
        assert_eq!((fault.address, fault.write), (memory.at(1), false));
        assert!(fault.tid.is_some());
        assert_eq!(
            uffd.copy(memory.at(1), &vec![42; page], Mode::empty()).halt,
            None
        );
        assert_eq!(reader.join().unwrap(), 42);
    });
}

/// What is told while a thread is at something that waits for its events to be read.
fn told_during<T>(uffd: &Uffd, thread: &std::thread::ScopedJoinHandle<'_, T>) -> Vec<Event> {
    let mut events = Events::default();
    let mut told = Vec::new();
    while !thread.is_finished() {
        told.extend(events.read(uffd).unwrap());
        std::thread::yield_now();
    }
    told
}

#[test]
fn a_child_that_nobody_asks_for_is_let_go() {
    need!(Root, Userfaultfd);
    let memory = Memory::of_pages(2);
    let uffd = memory.armed(Features::EVENT_FORK);
    std::thread::scope(|scope| {
        // Its fork(2) waits until the event has been read. The child waits for a page as long as its descriptor is
        // open, and gets zeros when it is closed.
        let forker = scope.spawn(|| plimsoll_sys::playground::in_a_child(|| memory.read(1) == 0));
        let mut events = Events::default();
        while !forker.is_finished() {
            drop(events.read(&uffd).unwrap());
            std::thread::yield_now();
        }
        assert!(forker.join().unwrap().unwrap());
    });
}

#[test]
fn moved_and_unmapped_ranges_are_told() {
    need!(Userfaultfd);
    let mut memory = Memory::of_pages(4);
    let uffd = memory.armed(Features::EVENT_REMAP | Features::EVENT_UNMAP);
    let from = memory.span;
    let place = Memory::of_pages(4);
    let to = place.span;
    std::mem::forget(place); // what moves there is unmapped instead
    let length = usize::try_from(from.len()).unwrap();
    let pointer =
        |address: u64| std::ptr::with_exposed_provenance_mut(usize::try_from(address).unwrap());
    std::thread::scope(|scope| {
        let mover = scope.spawn(|| {
            let flags = rustix::mm::MremapFlags::MAYMOVE;
            // SAFETY: both ranges are this test's own, and nothing points into them.
            unsafe {
                let (from, to) = (pointer(from.start), pointer(to.start));
                rustix::mm::mremap_fixed(from, length, length, flags, to)
            }
            .map(drop)
        });
        let told = told_during(&uffd, &mover);
        mover.join().unwrap().unwrap();
        let moved = |event: &Event| matches!(event, Event::Remap { from: old, to: new } if *old == from.start && *new == to);
        assert!(told.first().is_some_and(moved), "{told:?}");
    });
    memory.span = to;
    let gone = memory.pages(2, 4);
    std::thread::scope(|scope| {
        // SAFETY: the range is this test's own, and it is forgotten below.
        let unmapper = scope.spawn(|| unsafe { munmap(pointer(gone.start), length / 2) });
        let told = told_during(&uffd, &unmapper);
        unmapper.join().unwrap().unwrap();
        assert!(
            matches!(told[..], [Event::Unmap(span)] if span == gone),
            "{told:?}"
        );
    });
    memory.span = memory.pages(0, 2);
}

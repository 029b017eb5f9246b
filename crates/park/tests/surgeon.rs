//! Parking and resuming in a process of their own, which can be killed: this test program again, with orders in its
//! environment.

use plimsoll_park::ParkError;
use plimsoll_park::back::{self, Manner};
use plimsoll_park::known::{self, Standing};
use plimsoll_park::out::{self, Order, Wanted};
use plimsoll_park::pager::Room;
use plimsoll_park::runtime::{Record, Runtime};
use plimsoll_park::store::{Codec, Place};
use plimsoll_park::wake::WakeOn;
use plimsoll_proc::Root;
use plimsoll_surgery::tree::Extent;
use plimsoll_testkit::victim::Victim;
use rustix::process::{Pid, Signal};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What a surgeon does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Park,
    /// The first process alone.
    ParkOnly,
    /// By swap.
    ParkBySwap,
    /// Ends after the first group has left.
    ParkInterrupted,
    /// To wake for input.
    ParkToWake,
    Resume,
    /// Is the pager that brings back only what is touched.
    ResumeLazily,
    /// Resumes on a host that has as much room as [`Theatre::has_room`] says.
    Wake,
}

const VERBS: [(&str, Verb); 8] = [
    ("wake", Verb::Wake),
    ("park-to-wake", Verb::ParkToWake),
    ("resume-lazily", Verb::ResumeLazily),
    ("park-only", Verb::ParkOnly),
    ("park-by-swap", Verb::ParkBySwap),
    ("park", Verb::Park),
    ("park-interrupted", Verb::ParkInterrupted),
    ("resume", Verb::Resume),
];

/// Records and stores of one test.
pub(crate) struct Theatre {
    dir: tempfile::TempDir,
    stores: tempfile::TempDir,
}

impl Theatre {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap()),
            stores: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn runtime(&self) -> Runtime {
        Runtime::at(self.records()).unwrap()
    }

    /// The directory of the records.
    pub(crate) fn records(&self) -> std::path::PathBuf {
        self.dir.path().join("run")
    }

    pub(crate) fn start(&self, verb: Verb, victim: &Victim, step: Option<&str>) -> Child {
        let mut surgeon = self.surgeon(verb, victim.pid(), step);
        surgeon.stdout(Stdio::null()).spawn().unwrap()
    }

    /// A surgeon, to be started, who works on this process.
    pub(crate) fn surgeon(&self, verb: Verb, pid: Pid, step: Option<&str>) -> Command {
        let name = VERBS.iter().find(|(_, known)| *known == verb).unwrap().0;
        let mut surgeon = Command::new(std::env::current_exe().unwrap());
        surgeon
            .args([
                "--exact",
                "surgeon::surgeon",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env("SURGEON_VERB", name)
            .env("SURGEON_PID", pid.as_raw_pid().to_string())
            .env("SURGEON_RUN", self.dir.path())
            .env("SURGEON_STORES", self.stores.path())
            .env("PLIMSOLL_FAULT_POINT", step.unwrap_or(""));
        surgeon
    }

    pub(crate) fn run(&self, verb: Verb, victim: &Victim, step: Option<&str>) -> ExitStatus {
        self.start(verb, victim, step).wait().unwrap()
    }

    /// SIGKILL after so long, or when it is done.
    pub(crate) fn run_and_kill(&self, verb: Verb, victim: &Victim, after: Duration) {
        let mut surgeon = self.start(verb, victim, None);
        std::thread::sleep(after);
        surgeon.kill().unwrap();
        surgeon.wait().unwrap();
    }

    /// What a kill at `step` left can be taken up: the victim ends well, and nothing is left over.
    pub(crate) fn assert_taken_up(&self, victim: Victim, step: &str) {
        // It may run on meanwhile, or wait for what is absent.
        std::thread::sleep(Duration::from_millis(30));
        self.resume_if_parked(&victim);
        self.assert_clean(&victim);
        victim
            .end()
            .unwrap_or_else(|error| panic!("{step}: {error}"));
    }

    /// SIGKILL to the guardian of the newest session, where there is one.
    pub(crate) fn kill_guardian(&self) -> bool {
        let trees = std::fs::read_dir(self.dir.path().join("run/parked")).unwrap();
        let files = trees.flat_map(|tree| std::fs::read_dir(tree.unwrap().path()).unwrap());
        let guardian = |path: &Path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("guardian.")
                && path.extension().unwrap() != "new"
        };
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        paths.retain(|path| guardian(path));
        paths.sort();
        let text = paths
            .last()
            .map(|path| std::fs::read_to_string(path).unwrap());
        let pid = text.and_then(|text| {
            let (_, guardian) = text.split_once("\"guardian\":{\"pid\":")?;
            Pid::from_raw(guardian.split(',').next()?.parse().ok()?)
        });
        pid.is_some_and(|pid| rustix::process::kill_process(pid, Signal::KILL).is_ok())
    }

    pub(crate) fn is_parked(&self, pid: Pid) -> bool {
        self.record_of(pid).is_some()
    }

    pub(crate) fn beside_records(&self, name: &str) -> std::path::PathBuf {
        let _ = self.runtime();
        self.dir.path().join("run").join(name)
    }

    pub(crate) fn record(&self, victim: &Victim) -> Option<Record> {
        self.record_of(victim.pid())
    }

    pub(crate) fn record_of(&self, pid: Pid) -> Option<Record> {
        let pid = u32::try_from(pid.as_raw_pid()).unwrap();
        known::find(&self.runtime(), &Root::live(), pid).unwrap()
    }

    /// Waits until a pager brings back what the victim touches, and nothing else.
    pub(crate) fn wait_until_lazy(&self, victim: &Victim) {
        self.wait_until(victim, Standing::Lazy);
    }

    pub(crate) fn wait_until(&self, victim: &Victim, wanted: Standing) {
        let is_so = || {
            let record = self.record(victim)?;
            let standing = known::standing(&self.runtime(), &record).unwrap();
            Some(standing == wanted)
        };
        while is_so() != Some(true) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the host of a [`Verb::Wake`] has left.
    pub(crate) fn has_room(&self, has: bool) {
        let proc = self.dir.path().join("run/host/proc");
        std::fs::create_dir_all(&proc).unwrap();
        let available = if has { 900 } else { 10 };
        let text = format!("MemTotal: 1000 kB\nMemAvailable: {available} kB\n");
        std::fs::write(proc.join("new"), text).unwrap();
        std::fs::rename(proc.join("new"), proc.join("meminfo")).unwrap();
    }

    /// Makes nonsense of what is remembered of first touches.
    pub(crate) fn damage_first_touches(&self) -> usize {
        let files = std::fs::read_dir(self.dir.path().join("run/touched")).unwrap();
        let damage = |file: std::io::Result<std::fs::DirEntry>| {
            std::fs::write(file.unwrap().path(), "[{\"address\":4096,\"after_us\":").unwrap();
        };
        files.map(damage).count()
    }

    pub(crate) fn resume_if_parked(&self, victim: &Victim) {
        if self.is_parked(victim.pid()) {
            assert!(self.run(Verb::Resume, victim, None).success());
        }
    }

    /// Nothing of ours is left, in the victim or on the disk.
    pub(crate) fn assert_clean(&self, victim: &Victim) {
        assert!(!self.is_parked(victim.pid()), "a record is left");
        assert_eq!(self.stores(), 0, "a store is left");
        let pid = victim.pid().as_raw_pid();
        let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
        let flags = smaps
            .lines()
            .filter_map(|line| line.strip_prefix("VmFlags:"));
        let armed = flags
            .filter(|flags| flags.split(' ').any(|flag| flag == "um"))
            .count();
        assert_eq!(armed, 0, "a mapping is armed");
        for fd in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
            let target = std::fs::read_link(fd.unwrap().path()).unwrap_or_default();
            assert_ne!(
                target,
                Path::new("anon_inode:[userfaultfd]"),
                "a descriptor is left"
            );
        }
    }

    /// No guardian of ours runs any more, and no freezer group is left.
    pub(crate) fn assert_nothing_runs(&self, pid: Pid) {
        for process in std::fs::read_dir("/proc").unwrap() {
            let process = process.unwrap().path();
            let read = |name| std::fs::read(process.join(name)).unwrap_or_default();
            let environ = read("environ"); // a zombie has none
            let run = self.dir.path().as_os_str().as_encoded_bytes();
            let ours = environ.windows(run.len()).any(|part| part == run);
            assert!(
                !ours,
                "{} still runs",
                String::from_utf8_lossy(&read("comm"))
            );
        }
        for hierarchy in ["", "unified", "freezer"] {
            let groups = std::fs::read_dir(Path::new("/sys/fs/cgroup").join(hierarchy));
            for group in groups.into_iter().flatten() {
                let name = group.unwrap().file_name();
                let left = name.to_string_lossy() == format!("plimsoll-{}", pid.as_raw_pid());
                assert!(!left, "{} is left", name.display());
            }
        }
    }

    pub(crate) fn has_swap(&self) -> bool {
        std::fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1)
    }

    pub(crate) fn stores(&self) -> usize {
        std::fs::read_dir(self.stores.path().join("stores")).map_or(0, Iterator::count)
    }

    /// Changes one bit in the middle of each fifth of the pages.
    pub(crate) fn damage_store(&self) {
        let store = std::fs::read_dir(self.stores.path().join("stores"))
            .unwrap()
            .next();
        let pages = store.unwrap().unwrap().path().join("pages");
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(pages)
            .unwrap();
        let length = file.metadata().unwrap().len();
        for part in 1..5 {
            let at = length / 5 * part + 1000;
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 4], at).unwrap();
        }
    }
}

/// Not a test: what [`Theatre::run`] starts.
#[test]
#[ignore = "started by the other tests"]
fn surgeon() {
    let Ok(verb) = std::env::var("SURGEON_VERB") else {
        return;
    };
    let pid = std::env::var("SURGEON_PID").unwrap().parse().unwrap();
    let path = |name| std::path::PathBuf::from(std::env::var_os(name).unwrap());
    let runtime = Runtime::at(path("SURGEON_RUN").join("run")).unwrap();
    let place = Place::new(vec![path("SURGEON_STORES").join("stores")]).even_in_memory();
    let verb = VERBS.iter().find(|(name, _)| *name == verb).unwrap().1;
    match operate(verb, pid, &runtime, &place) {
        Err(ParkError::Interrupted) if verb == Verb::ParkInterrupted => std::process::exit(1),
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                text += &format!(": {error}");
                cause = error.source();
            }
            eprintln!("surgeon: {text}");
            std::process::exit(2);
        }
        Ok(()) => {}
    }
}

fn operate(verb: Verb, pid: u32, runtime: &Runtime, place: &Place) -> Result<(), ParkError> {
    let root = Root::live();
    if verb == Verb::Resume {
        return back::resume(&root, runtime, pid).map(drop);
    }
    if verb == Verb::ResumeLazily {
        let mut manner = Manner {
            lazy: true,
            room: None,
            running: &mut |_| {},
            progress: &mut |_, _| {},
        };
        return back::resume_as(&root, runtime, pid, &mut manner).map(drop);
    }
    if verb == Verb::Wake {
        let host = Root::captured(&runtime.dir().with_file_name("host"))?;
        let mut manner = Manner {
            lazy: false,
            room: Some(Room::of(&host)),
            running: &mut |_| {},
            progress: &mut |_, _| {},
        };
        return back::resume_as(&root, runtime, pid, &mut manner).map(drop);
    }
    let interrupted = AtomicBool::new(false);
    let mut order = Order {
        only_asleep: false,
        thaw: None,
        root: &root,
        runtime,
        place,
        pid,
        extent: match verb {
            Verb::ParkOnly => Extent::Only,
            _ => Extent::Whole,
        },
        wanted: match verb {
            Verb::ParkBySwap => Wanted::Swap,
            _ => Wanted::Store,
        },
        codec: Codec::Lz4,
        wake: match verb {
            Verb::ParkToWake => WakeOn::Input,
            _ => WakeOn::Never,
        },
        interrupted: &interrupted,
        progress: &mut |_, _| {
            interrupted.store(verb == Verb::ParkInterrupted, Ordering::SeqCst);
        },
    };
    out::park(&mut order).map(drop)
}

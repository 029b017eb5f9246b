//! Round after round, at random: whichever victim, whichever means, killed at whatever instant. After each, no changed
//! byte, no dead or hung victim, and nothing left over.
//!
//! A few run with the other tests; `cargo xtask rounds` runs as many as are wanted. The seed that is printed makes the
//! same choices again; the instants fall where the machine's own time puts them.

use crate::surgeon::{Theatre, Verb};
use plimsoll_testkit::need;
use plimsoll_testkit::victim::Victim;
use std::time::{Duration, Instant};

/// Victims, each with what it is there for.
const VICTIMS: [&str; 5] = [
    "kinds",   // every kind of mapping, threads that write all the time
    "memory",  // moves, drops, maps anew, reads into, forks
    "lineage", // forks, and its children do
    "family",  // several processes that share
    "threads", // registers, and counts that must go on
];

/// After so many rounds a victim comes to its end and says whether all was well.
const LIFE: u64 = 10;
/// A victim that does not come to its end in this time hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// xorshift: the same numbers for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

/// A victim with its records, and how long things took with it.
struct Patient {
    kind: &'static str,
    theatre: Theatre,
    victim: Victim,
    park_took: Duration,
    resume_took: Duration,
}

impl Patient {
    fn new(kind: &'static str) -> Self {
        Self {
            kind,
            theatre: Theatre::new(),
            victim: Victim::start(kind).unwrap(),
            park_took: Duration::from_millis(100),
            resume_took: Duration::from_millis(100),
        }
    }

    fn round(&mut self, chance: &mut Chance, kill: bool) {
        let by_swap = self.theatre.has_swap() && chance.below(2) == 0;
        let park = if by_swap {
            Verb::ParkBySwap
        } else {
            Verb::Park
        };
        if kill && chance.below(2) == 0 {
            self.kill(chance, park, self.park_took);
        } else {
            let begun = Instant::now();
            let parked = self.theatre.run(park, &self.victim, None);
            assert!(parked.success(), "parking: {parked}");
            self.park_took = begun.elapsed();
            std::thread::sleep(Duration::from_millis(chance.below(20)));
            if kill {
                self.kill(chance, Verb::Resume, self.resume_took);
            }
        }
        // Whoever takes up may be killed, too.
        if kill && chance.below(3) == 0 && self.theatre.is_parked(self.victim.pid()) {
            self.kill(chance, Verb::Resume, self.resume_took);
        }
        let begun = Instant::now();
        if self.theatre.is_parked(self.victim.pid()) {
            let resumed = self.theatre.run(Verb::Resume, &self.victim, None);
            assert!(resumed.success(), "resuming: {resumed}");
            self.resume_took = begun.elapsed();
        }
        self.theatre.assert_clean(&self.victim);
        self.theatre.assert_nothing_runs(self.victim.pid());
        assert!(self.victim.is_alive(), "the victim is dead");
    }

    fn kill(&self, chance: &mut Chance, verb: Verb, took: Duration) {
        let most = u64::try_from(took.as_micros()).unwrap();
        let after = Duration::from_micros(chance.below(most * 5 / 4));
        self.theatre.run_and_kill(verb, &self.victim, after);
    }

    /// Its last words are due: one that hangs is killed, and says none.
    fn end(self) {
        let pid = self.victim.pid();
        let (over, wait) = std::sync::mpsc::channel::<()>();
        let watch = std::thread::spawn(move || {
            if wait.recv_timeout(PATIENCE).is_err() {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        });
        let kind = self.kind;
        self.victim
            .end()
            .unwrap_or_else(|error| panic!("{kind}: {error}"));
        over.send(()).unwrap();
        watch.join().unwrap();
    }
}

fn rounds(plain: u64, kills: u64, seed: u64) {
    println!("{plain} rounds and {kills} with SIGKILL, seed {seed}");
    let mut chance = Chance(seed | 1);
    let mut kills_left = kills;
    let mut round = 0;
    while round < plain + kills {
        let which = usize::try_from(chance.below(VICTIMS.len() as u64)).unwrap();
        let mut patient = Patient::new(VICTIMS[which]);
        for _ in 0..LIFE.min(plain + kills - round) {
            let kill = chance.below(plain + kills - round) < kills_left;
            kills_left -= u64::from(kill);
            println!(
                "round {round}: {}{}",
                patient.kind,
                if kill { ", SIGKILL" } else { "" }
            );
            patient.round(&mut chance, kill);
            round += 1;
        }
        patient.end();
    }
    println!("{plain} rounds and {kills} with SIGKILL: nothing changed, nothing left");
}

#[test]
fn a_few_at_random() {
    need!(Root, Userfaultfd);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    rounds(25, 25, u64::from(now.unwrap().subsec_nanos()));
}

/// What `cargo xtask rounds` runs.
#[test]
#[ignore = "runs for as long as it is told to"]
fn many() {
    let number = |name| std::env::var(name).unwrap().parse().unwrap();
    rounds(
        number("PLIMSOLL_ROUNDS"),
        number("PLIMSOLL_KILLS"),
        number("PLIMSOLL_SEED"),
    );
}

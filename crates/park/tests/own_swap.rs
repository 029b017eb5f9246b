//! Swap files of our own, as far as they can be tried without swapping: what a killed plimsoll notes is found and cleared.

use crate::surgeon::Theatre;
use plimsoll_testkit::need;
use plimsoll_testkit::victim::Victim;

#[test]
fn what_was_noted_and_not_made_is_forgotten() {
    need!(Root);
    let theatre = Theatre::new();
    let victim = Victim::start("nanosleep").unwrap();
    let swap = theatre.beside_records("swap");
    std::fs::create_dir(&swap).unwrap();
    let file = theatre.beside_records("never-on.swap");
    std::fs::write(&file, "no swap header").unwrap();
    let note = swap.join("never-on.swap");
    std::fs::write(&note, file.to_str().unwrap()).unwrap();
    // Any command looks through the records.
    assert!(!theatre.is_parked(victim.pid()));
    assert!(!note.exists() && !file.exists());
    victim.end().unwrap();
}

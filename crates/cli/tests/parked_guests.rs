//! Parking on other kernels: 6.1, which has no `PAGEMAP_SCAN`, and 6.12; by a store where there is no swap, and by swap on
//! a disk. One boot for each kernel (`lab/scenes/parked.sh`).

use plimsoll_lab::{Guest, Kernel};
use plimsoll_testkit::need;
use plimsoll_units::Bytes;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ROUNDS: usize = 3;
const MEANS: [&str; 2] = ["store", "swap"];
const KINDS: [&str; 3] = ["memory", "threads", "epoll"];

#[test]
fn parked_and_resumed_on_6_1() {
    need!(Lab);
    parked_and_resumed("6.1");
}

#[test]
fn parked_and_resumed_on_6_12() {
    need!(Lab);
    parked_and_resumed("6.12");
}

fn parked_and_resumed(kernel: &str) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guest = Guest {
        memory: Bytes::from_mib(1024),
        swap: Some(Bytes::from_mib(1024)),
        modules: ["zram", "lzo-rle"].map(str::to_owned).to_vec(),
        programs: [("plimsoll-cli", "plimsoll"), ("plimsoll-testkit", "victim")]
            .map(|(package, program)| (package.to_owned(), program.to_owned()))
            .to_vec(),
        copy_in: vec![(workspace.join("lab/scenes"), PathBuf::from("/scenes"))],
        copy_out: vec![PathBuf::from("/out")],
        deadline: Duration::from_secs(500),
        ..Guest::new(Kernel::named(kernel).unwrap())
    };
    let command = ["sh", "-x", "/scenes/parked.sh", &ROUNDS.to_string()].map(str::to_owned);
    let mut said = Vec::new();
    let outcome = guest.run(&command, |_, bytes| {
        said.extend_from_slice(bytes);
        Ok(())
    });
    let outcome = outcome.unwrap();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(outcome.status, 0, "{said}");
    println!("{}: {said}", outcome.release);
    let file = |(path, text): &(PathBuf, Vec<u8>)| {
        path.ends_with("parked")
            .then(|| String::from_utf8_lossy(text).into_owned())
    };
    let parked = outcome.files.iter().find_map(file).unwrap();
    for means in MEANS {
        for kind in KINDS {
            let wanted = format!("{means} {kind} {ROUNDS} ok ");
            assert!(parked.contains(&wanted), "{wanted}: {parked}");
        }
    }
}

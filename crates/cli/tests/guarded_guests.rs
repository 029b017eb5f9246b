//! Agents and a build that needs their room, in a guest of the lab with cgroup v2: `lab/scenes/guarded.sh`, with a store on disk and
//! with a swap disk.

use crate::scenes::{self, guest, modules};
use plimsoll_lab::Guest;
use plimsoll_testkit::need;
use plimsoll_units::Bytes;

/// Beside the build they are more than the guest has, and without it they are not.
const AGENTS: usize = 12;
const AGENT_MIB: &str = "25";
const BUILD_MIB: &str = "200";
const BUILD_S: &str = "10";

#[test]
#[ignore = "three and a half minutes of guests: run by hand"]
fn agents_survive_a_build_that_needs_their_room_and_it_ends() {
    need!(Lab);
    for disk_is in ["store", "swap"] {
        let (result, log) = play(disk_is);
        let said = |is: &dyn Fn(&str) -> bool| result.lines().filter(|line| is(line)).count();
        let all = [
            said(&|line| line.starts_with("build 0 ")),
            said(&|line| line == "kills 0"),
            said(&|line| line.contains(" alive ") && line.ends_with(" whole")),
        ];
        assert_eq!(all, [1, 1, AGENTS], "{disk_is}: {result}\n{log}");
        let (away, lost) = (["park", "page out"], ["ask to end", "kill"]);
        let says = |words: &str| log.contains(&format!("plimsoll guard: {words} "));
        assert!(away.into_iter().any(says), "{disk_is}: {log}");
        assert!(!lost.into_iter().any(says), "{disk_is}: {log}");
    }
}

fn play(disk_is: &str) -> (String, String) {
    let guest = Guest {
        memory: Bytes::from_mib(512),
        swap: Some(Bytes::from_mib(1024)),
        modules: modules(&["ext4"]),
        ..guest("6.12", 600)
    };
    let agents = AGENTS.to_string();
    let scene = [
        "/scenes/guarded.sh",
        "guard",
        disk_is,
        &agents,
        AGENT_MIB,
        BUILD_MIB,
        BUILD_S,
    ];
    let left = scenes::play(&guest, &scene);
    (left.text("result"), left.text("log"))
}

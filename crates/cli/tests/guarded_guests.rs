//! Agents and a build that needs their room, in a guest of the lab with cgroup v2: `lab/scenes/guarded.sh`, with a store on disk and
//! with a swap disk.

use plimsoll_lab::{Guest, Kernel};
use plimsoll_testkit::need;
use plimsoll_units::Bytes;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guest = Guest {
        memory: Bytes::from_mib(512),
        swap: Some(Bytes::from_mib(1024)),
        modules: vec!["ext4".to_owned()],
        programs: [("plimsoll-cli", "plimsoll"), ("plimsoll-testkit", "victim")]
            .map(|(package, program)| (package.to_owned(), program.to_owned()))
            .to_vec(),
        copy_in: vec![(workspace.join("lab/scenes"), PathBuf::from("/scenes"))],
        copy_out: vec![PathBuf::from("/out")],
        deadline: Duration::from_secs(600),
        ..Guest::new(Kernel::named("6.12").unwrap())
    };
    let command = [
        "sh",
        "/scenes/guarded.sh",
        "guard",
        disk_is,
        &AGENTS.to_string(),
        AGENT_MIB,
        BUILD_MIB,
        BUILD_S,
    ]
    .map(str::to_owned);
    let outcome = guest.run(&command, |_, _| Ok(())).unwrap();
    let text = |name: &str| {
        let file = outcome.files.iter().find(|(path, _)| path.ends_with(name));
        let (_, text) = file.unwrap_or_else(|| panic!("no {name}: {:?}", outcome.missing));
        String::from_utf8_lossy(text).into_owned()
    };
    assert_eq!(outcome.status, 0, "{}", text("log"));
    (text("result"), text("log"))
}

//! An ordinary user's own processes, parked by swap: no capability is needed, and records are that user's.

use crate::program::transcript;
use plimsoll_testkit::need;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

/// One who owns nothing here.
const NOBODY: u32 = 65534;

fn answered(output: &Output) -> Value {
    assert!(output.status.success(), "{}", transcript(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn resident_anonymous_kib(pid: &str) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

#[test]
fn parks_by_swap_and_resumes() {
    need!(Root, Swap, Program("python3"));
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("plimsoll");
    fs::copy(env!("CARGO_BIN_EXE_plimsoll"), &program).unwrap();
    let home = dir.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();

    let ready = home.join("ready");
    let script = format!(
        "import time\nm = bytes(range(256)) * (64 << 10)\nopen({ready:?}, 'w').close()\n\
         while m[-1] == 255 and m[12345678] == 78: time.sleep(0.05)\n"
    );
    let mut target = Command::new("/usr/bin/python3")
        .args(["-c", &script])
        .uid(NOBODY)
        .gid(NOBODY)
        .spawn()
        .unwrap();
    while !ready.exists() {
        assert!(target.try_wait().unwrap().is_none(), "it ended early");
        std::thread::yield_now();
    }
    let pid = target.id().to_string();
    let as_user = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        let command = command.args(arguments).arg("--json").arg(&pid).env_clear();
        let command = command.env("HOME", &home).env("XDG_RUNTIME_DIR", &home);
        let command = command.current_dir("/").uid(NOBODY).gid(NOBODY);
        command.output().unwrap()
    };
    let before = resident_anonymous_kib(&pid);
    for _ in 0..3 {
        let parked = answered(&as_user(&["park", "--via", "swap"]));
        assert_eq!(parked["via"], "swap");
        assert!(resident_anonymous_kib(&pid) < before / 4, "{parked}");
        assert!(home.join("plimsoll/parked").read_dir().unwrap().count() == 1);
        answered(&as_user(&["resume"]));
        assert!(home.join("plimsoll/parked").read_dir().unwrap().count() == 0);
        // Each turn looks at its memory.
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(target.try_wait().unwrap().is_none(), "its memory changed");
    }
    target.kill().unwrap();
    target.wait().unwrap();
}

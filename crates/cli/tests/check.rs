//! What can be parked, asked of living processes: figures, obstacles, and nothing stopped.

use crate::program::{plimsoll, transcript};
use plimsoll_testkit::{Victim, need};
use serde_json::Value;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

/// An ordinary user who owns nothing here.
const NOBODY: u32 = 65534;

fn pid(victim: &Victim) -> String {
    victim.pid().as_raw_pid().to_string()
}

fn check(arguments: &[&str], pid: &str) -> (Option<i32>, Value) {
    answered(
        plimsoll()
            .args(["check", "--json"])
            .args(arguments)
            .arg(pid)
            .output()
            .unwrap(),
    )
}

fn answered(output: Output) -> (Option<i32>, Value) {
    let said = serde_json::from_slice(&output.stdout);
    let said = said.unwrap_or_else(|error| panic!("{error}: {}", transcript(&output)));
    (output.status.code(), said)
}

/// The obstacles as `what` and `remedy`, in one text each.
fn obstacles(check: &Value) -> Vec<String> {
    let obstacles = check["obstacles"].as_array().unwrap();
    let text = |o: &Value| format!("{} -- {}", o["what"], o["remedy"]);
    obstacles.iter().map(text).collect()
}

/// How often a process was put to sleep or preempted: it counts up whenever it runs.
fn switches(pid: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
    lines.collect()
}

/// The program where anybody can start it.
fn public_program() -> (tempfile::TempDir, std::path::PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("plimsoll");
    std::fs::copy(env!("CARGO_BIN_EXE_plimsoll"), &program).unwrap();
    (dir, program)
}

#[test]
fn all_but_a_little_would_go_and_nothing_is_stopped() {
    need!(Root, Userfaultfd);
    let victim = Victim::start_part("anon", 16).unwrap();
    let held = victim.held_bytes().unwrap();
    let pid = pid(&victim);
    while !std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .unwrap()
        .contains(") S ")
    {
        std::thread::yield_now(); // it has said that it is ready, and is about to wait
    }
    let before = switches(&pid);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = dir.path().join("stores");
    let (code, said) = check(
        &["--via", "store", "--store", store.to_str().unwrap()],
        &pid,
    );
    assert_eq!(before, switches(&pid), "it was disturbed");
    assert_eq!(
        (code, &said["answer"]),
        (Some(0), &Value::from("yes")),
        "{said}"
    );
    assert_eq!(said["schema"], "plimsoll.check/1");
    assert_eq!(said["obstacles"], Value::Array(Vec::new()));
    let moves = said["would_move_bytes"].as_u64().unwrap();
    assert!(moves * 100 >= held * 97, "{moves} of {held}");
    // what goes and what stays is all there is
    let left = said["left"].as_array().unwrap();
    let left: u64 = left.iter().map(|l| l["bytes"].as_u64().unwrap()).sum();
    let status = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let rss = status.lines().find_map(|l| l.strip_prefix("Rss:")).unwrap();
    let rss: u64 = rss.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    assert!(
        (moves + left).abs_diff(rss << 10) <= 1 << 20,
        "{moves} and {left} of {rss} KiB: {said}"
    );
    assert!(!store.exists(), "something was made");
    victim.end().unwrap();
}

#[test]
fn what_uses_userfaultfd_is_refused() {
    need!(Root, Userfaultfd);
    let flags = plimsoll_sys::uffd::CreateFlags::CLOEXEC;
    let own = plimsoll_sys::uffd::create_here(flags).unwrap();
    let (code, said) = check(&["--only"], &std::process::id().to_string());
    drop(own);
    let found = obstacles(&said);
    assert!(
        found.iter().any(|what| what.contains("userfaultfd")),
        "{found:?}"
    );
    assert_eq!((code, &said["answer"]), (Some(4), &Value::from("refused")));
}

#[test]
fn filters_take_a_privilege_that_is_named_and_parking_leaves_the_target_as_it_was() {
    need!(Root, Userfaultfd, Program("setpriv"));
    let victim = Victim::start("seccomp").unwrap();
    let pid = pid(&victim);
    let without_admin = |arguments: &[&str]| {
        Command::new("setpriv")
            .args(["--bounding-set=-sys_admin", "--inh-caps=-sys_admin"])
            .arg(env!("CARGO_BIN_EXE_plimsoll"))
            .args(arguments)
            .arg(&pid)
            .output()
            .unwrap()
    };
    let (code, said) = answered(without_admin(&["check", "--via", "store", "--json"]));
    let found = obstacles(&said);
    assert!(
        found.iter().any(|what| what.contains("CAP_SYS_ADMIN")),
        "{found:?}"
    );
    assert_eq!(
        (code, &said["answer"]),
        (Some(3), &Value::from("not_permitted"))
    );
    let (code, said) = check(&["--via", "store"], &pid);
    assert_eq!(code, Some(0), "{said}");
    let store = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let output = without_admin(&[
        "park",
        "--via",
        "store",
        "--store",
        store.path().join("stores").to_str().unwrap(),
    ]);
    let said = transcript(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("CAP_SYS_ADMIN"), "{said}");
    untouched(&pid);
    victim.end().unwrap();
}

/// Neither traced nor stopped nor armed, and nothing of ours in it.
fn untouched(pid: &str) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("TracerPid:\t0\n"), "{status}");
    assert!(!status.contains("State:\tT"), "{status}");
    let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(!cgroup.contains("plimsoll-"), "{cgroup}");
    for fd in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let link = std::fs::read_link(fd.unwrap().path()).unwrap_or_default();
        assert_ne!(link.as_os_str(), "anon_inode:[userfaultfd]");
    }
}

#[test]
fn an_ordinary_user_is_told_what_would_do_and_the_target_is_as_it_was() {
    need!(Root);
    let sysctl = std::fs::read_to_string("/proc/sys/vm/unprivileged_userfaultfd");
    let (dir, program) = public_program();
    let mut target = Command::new("sleep");
    let mut target = target.arg("60").uid(NOBODY).gid(NOBODY).spawn().unwrap();
    let pid = target.id().to_string();
    while !std::fs::read_link(format!("/proc/{pid}/exe"))
        .is_ok_and(|exe| !exe.starts_with(env!("CARGO_MANIFEST_DIR")) && exe.ends_with("sleep"))
    {
        std::thread::yield_now();
    }
    // a directory of that user's own
    let home = dir.path().join("home");
    std::fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
    let as_user = |arguments: &[&str]| {
        Command::new(&program)
            .args(arguments)
            .arg(&pid)
            .env_clear()
            .env("HOME", &home)
            .env("XDG_RUNTIME_DIR", &home)
            .current_dir("/")
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .unwrap()
    };
    let store = home.join("stores");
    let by_store = ["--via", "store", "--store", store.to_str().unwrap()];
    let (code, said) = answered(as_user(&[&["check", "--json"], &by_store[..]].concat()));
    let parked = as_user(&[&["park"], &by_store[..]].concat());
    let told = transcript(&parked);
    let (swap_code, swap_said) = answered(as_user(&["check", "--json", "--via", "swap"]));
    untouched(&pid);
    let resumed = as_user(&["resume"]);
    target.kill().unwrap();
    target.wait().unwrap();

    let nothing_allowed = sysctl.is_ok_and(|text| text.trim() == "0")
        && std::fs::File::options()
            .read(true)
            .open("/dev/userfaultfd")
            .is_ok();
    if nothing_allowed {
        let found = obstacles(&said).join("\n");
        for would_do in [
            "vm.unprivileged_userfaultfd",
            "/dev/userfaultfd",
            "CAP_SYS_PTRACE",
        ] {
            assert!(found.contains(would_do), "{would_do}: {found}");
            assert!(told.contains(would_do), "{would_do}: {told}");
        }
        assert_eq!(
            (code, &said["answer"]),
            (Some(3), &Value::from("not_permitted")),
            "{said}"
        );
        assert_eq!(parked.status.code(), Some(3), "{told}");
        assert_eq!(resumed.status.code(), Some(4), "{}", transcript(&resumed));
        assert!(
            !store.exists() || store.read_dir().unwrap().next().is_none(),
            "a store is left"
        );
    }
    let found = obstacles(&swap_said).join("\n");
    // The process pages out for itself: room is all that it takes.
    match swap_code {
        Some(0) => assert_eq!(found, ""),
        _ => assert!(found.contains("swapon"), "{found}"),
    }
    assert!(matches!(swap_code, Some(0 | 4)), "{swap_said}");
}

#[test]
fn a_process_of_somebody_else_is_not_permitted() {
    need!(Root);
    let (_dir, program) = public_program();
    let victim = Victim::start("nanosleep").unwrap();
    let mut command = Command::new(&program);
    let command = command.args(["check", "--json", &pid(&victim)]);
    let (code, said) = answered(
        command
            .env_clear()
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .unwrap(),
    );
    let found = obstacles(&said).join("\n");
    assert!(found.contains("we may not look into it"), "{found}");
    assert!(matches!(code, Some(3 | 4)), "{said}");
    victim.end().unwrap();
}

/// A program of 32 bits: it waits for a signal, for ever.
const PAUSES: [u8; 9] = [
    0xb8, 29, 0, 0, 0, // mov eax, __NR_pause
    0xcd, 0x80, // int 0x80
    0xeb, 0xf7, // jmp to the beginning
];

fn thirty_two_bit_program() -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    const CODE_AT: u32 = 52 + 32;
    let mut file = b"\x7fELF\x01\x01\x01".to_vec();
    file.resize(16, 0);
    let length = CODE_AT + u32::try_from(PAUSES.len()).unwrap();
    let halves = |file: &mut Vec<u8>, values: &[u16]| {
        values.iter().for_each(|v| file.extend(v.to_le_bytes()));
    };
    let words = |file: &mut Vec<u8>, values: &[u32]| {
        values.iter().for_each(|v| file.extend(v.to_le_bytes()));
    };
    halves(&mut file, &[2, 3]); // executable, i386
    words(&mut file, &[1, BASE + CODE_AT, 52, 0, 0]); // version, entry, program headers, sections, flags
    halves(&mut file, &[52, 32, 1, 0, 0, 0]);
    words(&mut file, &[1, 0, BASE, BASE, length, length, 5, 0x1000]); // PT_LOAD, readable and executable
    file.extend(PAUSES);
    file
}

#[test]
fn a_32_bit_program_is_refused_and_parking_leaves_it_as_it_was() {
    need!(Root, Userfaultfd);
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let program = dir.path().join("pauses");
    std::fs::write(&program, thirty_two_bit_program()).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut target = match Command::new(&program).spawn() {
        Ok(target) => target,
        Err(error) => {
            println!("this kernel runs no 32-bit programs: {error}");
            return;
        }
    };
    let pid = target.id().to_string();
    let store = dir.path().join("stores");
    let by_store = ["--via", "store", "--store", store.to_str().unwrap()];
    let (code, said) = check(&by_store, &pid);
    let parked = plimsoll()
        .arg("park")
        .args(by_store)
        .arg(&pid)
        .output()
        .unwrap();
    untouched(&pid);
    target.kill().unwrap();
    target.wait().unwrap();
    let found = obstacles(&said);
    assert!(
        found.iter().any(|what| what.contains("32-bit")),
        "{found:?}"
    );
    assert_eq!((code, &said["answer"]), (Some(4), &Value::from("refused")));
    assert_eq!(parked.status.code(), Some(4), "{}", transcript(&parked));
}

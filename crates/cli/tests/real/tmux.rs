//! bash in a tmux of our own, with a stopped job: keys pressed while it is parked are there when it comes back.

use super::running::until;
use super::wakes::twenty_wakes;
use super::{Client, directory, ten_rounds};
use plimsoll_testkit::need;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Tmux {
    socket: PathBuf,
    lines: u32,
}

impl Tmux {
    fn start(dir: &Path) -> Self {
        let tmux = Self {
            socket: dir.join("socket"),
            lines: 0,
        };
        tmux.run(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "100",
            "-y",
            "50",
            "bash --norc",
        ]);
        assert!(until(|| tmux.screen().contains("bash-")));
        tmux
    }

    fn run(&self, words: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(&self.socket).args(words);
        let output = tmux
            .env("TERM", "xterm")
            .env_remove("TMUX")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    fn type_line(&self, line: &str) {
        self.run(&["send-keys", line, "Enter"]);
    }

    fn shows(&self, text: &str) {
        assert!(until(|| self.screen().contains(text)), "{}", self.screen());
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

impl Client for Tmux {
    fn ask(&mut self) {
        self.lines += 1;
        self.type_line(&format!("echo $((6 * 7)).{}.", self.lines));
        self.shows(&format!("\n42.{}.", self.lines));
    }
}

#[test]
fn a_shell_with_a_stopped_job() {
    need!(Root, Userfaultfd, Program("tmux"), Program("bash"));
    let dir = directory();
    let mut tmux = Tmux::start(dir.path());
    let pid = tmux.run(&["display", "-p", "#{pane_pid}"]);
    tmux.type_line("sleep 1000");
    std::thread::sleep(std::time::Duration::from_millis(300)); // until it runs
    tmux.run(&["send-keys", "C-z"]);
    tmux.shows("Stopped ");
    let pid = pid.trim().parse().unwrap();
    ten_rounds("bash in tmux", pid, &mut tmux);
    twenty_wakes("bash in tmux", pid, &mut tmux);
    tmux.run(&["send-keys", "C-l"]);
    tmux.type_line("jobs; echo $?.");
    tmux.shows("\n0.");
    tmux.shows("Stopped ");
}

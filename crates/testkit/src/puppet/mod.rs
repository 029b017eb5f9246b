//! Puppets: victims that do what they are told, line by line, so that a test can look at the kernel after
//! each step.
//!
//! A puppet is the test binary itself, started again with a test's name and a variable set, so that it is always
//! built and always the same build. The test that plays the puppet begins with [`play`]:
//!
//! ```no_run
//! use plimsoll_testkit::puppet::{Puppet, heaps, play};
//! // #[test]
//! fn puppet() {
//!     play(heaps::obey);
//! }
//! let mut puppet = Puppet::spawn("a::module::puppet");
//! let held = puppet.tell("fill 8 248");
//! ```

pub mod heaps;
pub mod mappings;

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const VARIABLE: &str = "PLIMSOLL_PUPPET";
/// Tells the puppet's answers from what the test harness prints.
const ANSWER: &str = "puppet: ";

/// A running puppet; killed when dropped.
#[derive(Debug)]
pub struct Puppet {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Puppet {
    /// Starts the test `name` of this very binary as a puppet.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test that can't go on fails")]
    pub fn spawn(name: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a test has a binary"))
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(VARIABLE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a puppet starts");
        let orders = child.stdin.take().expect("its input is a pipe");
        let answers = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        let mut puppet = Self {
            child,
            orders,
            answers,
        };
        puppet.answer("the start");
        puppet
    }

    /// Gives an order and waits until it is carried out; returns the answer.
    ///
    /// # Panics
    /// When the puppet can't carry it out.
    #[expect(clippy::expect_used, reason = "a test that can't go on fails")]
    pub fn tell(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").expect("the puppet takes orders");
        self.answer(order)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    #[expect(
        clippy::expect_used,
        clippy::panic,
        reason = "a test that can't go on fails"
    )]
    fn answer(&mut self, order: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let got = self.answers.read_line(&mut line).expect("a pipe is read");
            assert!(got > 0, "the puppet ended at {order:?}");
            if let Some((_, answer)) = line.split_once(ANSWER) {
                match answer.trim_end().split_once("cannot: ") {
                    None => return answer.trim_end().to_owned(),
                    Some((_, why)) => panic!("{order:?}: {why}"),
                }
            }
        }
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Plays the puppet where this process is one: carries out orders until its input ends. Does nothing in an
/// ordinary run of the tests.
///
/// # Panics
/// When its answers can't be written.
#[expect(clippy::expect_used, reason = "a test that can't go on fails")]
pub fn play(mut obey: impl FnMut(&str) -> io::Result<String>) {
    if std::env::var_os(VARIABLE).is_none() {
        return;
    }
    let say = |text: &str| {
        let mut out = io::stdout().lock();
        writeln!(out, "{ANSWER}{text}")
            .and_then(|()| out.flush())
            .expect("a pipe is written");
    };
    say("ready");
    for order in io::stdin().lines() {
        let order = order.expect("a pipe is read");
        match obey(&order) {
            Ok(answer) => say(&answer),
            Err(error) => say(&format!("cannot: {error}")),
        }
    }
}

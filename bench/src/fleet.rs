//! Many idle processes, for measuring tools whose work grows with them. They end with the bench, also when that is
//! killed: each waits for the end of its standard input.

use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Idle processes; ended and reaped when dropped.
pub struct Fleet(Vec<Child>);

/// Says when it is up, then waits for the end of its input.
const SMALL: [&str; 3] = ["sh", "-c", "echo up; read line"];
const PYTHON: [&str; 3] = [
    "/usr/bin/python3",
    "-c",
    "import json, sys; print('up', flush=True); sys.stdin.read()",
];

impl Fleet {
    /// So many processes, every other one a Python interpreter.
    pub fn start(count: usize) -> Result<Self> {
        let mut fleet = Self(Vec::with_capacity(count));
        for command in [SMALL, PYTHON].iter().cycle().take(count) {
            fleet.0.push(start(command)?);
        }
        for child in &mut fleet.0 {
            let mut line = String::new();
            let output = child.stdout.as_mut().context("the output is piped")?;
            BufReader::new(output).read_line(&mut line)?;
        }
        Ok(fleet)
    }
}

fn start([program, arguments @ ..]: &[&str; 3]) -> Result<Child> {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {program}"))
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in &mut self.0 {
            drop(child.stdin.take());
        }
        for child in &mut self.0 {
            let _ = child.wait(); // its input has ended, and so does it
        }
    }
}

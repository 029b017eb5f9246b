//! Runs the program with nothing of the tester's environment.

use std::fmt::Write;
use std::process::{Command, Output};

/// The program, to be given arguments.
pub(crate) fn plimsoll() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.env_clear().env("COLUMNS", "100");
    command
}

/// Exit code, standard output and standard error as one text.
pub(crate) fn transcript(output: &Output) -> String {
    let mut text = String::new();
    let code = output.status.code();
    let code = code.map_or_else(|| "killed".to_owned(), |code| code.to_string());
    let _ = writeln!(text, "exit {code}");
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let _ = writeln!(text, "{}", line.trim_end()); // clap ends some lines in blanks
    }
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        let _ = writeln!(text, "{}", format!("stderr: {line}").trim_end());
    }
    text
}

/// Runs it with `arguments` and gives the transcript.
pub(crate) fn run(arguments: &[&str]) -> String {
    transcript(&plimsoll().args(arguments).output().unwrap())
}

/// Runs it with `arguments`, which succeed and print one JSON document.
pub(crate) fn json(arguments: &[&str]) -> serde_json::Value {
    let output = plimsoll().args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

//! Skips are said aloud, and written to the file that `cargo xtask test` reads its table from.
//!
//! One line per skip: test, need and reason, separated by tabs.

use crate::needs::Missing;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Says that `test` was skipped, on the terminal and in the file named by `PLIMSOLL_SKIPS`.
pub(crate) fn announce(test: &str, missing: &Missing) {
    let Missing { need, reason } = missing;
    // Written to the descriptor itself: the test harness swallows what `eprintln!` says in a test that passes.
    let _ = writeln!(io::stderr(), "SKIPPED {test}: needs {need}: {reason}");
    if let Some(file) = std::env::var_os("PLIMSOLL_SKIPS") {
        record(Path::new(&file), test, missing)
            .expect("a skip that can't be counted must not pass for a success");
    }
}

fn record(file: &Path, test: &str, missing: &Missing) -> io::Result<()> {
    let one_line = |text: &str| text.replace(['\t', '\n'], " ");
    let line = format!(
        "{}\t{}\t{}\n",
        one_line(test),
        one_line(&missing.need),
        one_line(&missing.reason)
    );
    // One write of an appending descriptor: lines of tests that run at the same time don't mix.
    File::options()
        .create(true)
        .append(true)
        .open(file)?
        .write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_skip_is_one_line_of_three_fields() {
        let file = std::env::temp_dir().join(format!("plimsoll-skips-{}", std::process::id()));
        for need in ["swap", "program:criu"] {
            let missing = Missing {
                need: need.to_owned(),
                reason: "a reason\nof two lines".to_owned(),
            };
            record(&file, "crate::module::test", &missing).unwrap();
        }
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(
            text,
            "crate::module::test\tswap\ta reason of two lines\n\
             crate::module::test\tprogram:criu\ta reason of two lines\n"
        );
    }
}

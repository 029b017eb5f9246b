//! `unsafe` has one home, and every file of it says why.
//!
//! The workspace denies `unsafe_code`; a file opts in with `#![allow(unsafe_code)]`. Opt-ins are accepted in
//! `crates/sys` alone, in files whose documentation has a `# Safety` header; and every crate must take part in
//! the workspace's lints, or the denial would not reach it.

use crate::metadata::Metadata;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// The only crate that may contain `unsafe`.
const HOME: &str = "sys";

/// Looks at every source file and manifest of the workspace.
///
/// # Errors
/// Lists each opt-in outside its home or without its reason, and each crate outside the lints.
pub(crate) fn check(metadata: &Metadata) -> Result<()> {
    let mut faults = Vec::new();
    for package in metadata.members() {
        let manifest = fs::read_to_string(&package.manifest_path)?;
        if !manifest.contains("[lints]\nworkspace = true") {
            faults.push(format!(
                "{} does not take the workspace's lints",
                package.name
            ));
        }
        let home = package.manifest_path.parent().unwrap_or(Path::new("."));
        for file in sources(home)? {
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            if let Some(fault) = fault(package.room(), &text) {
                faults.push(format!("{}: {fault}", file.display()));
            }
        }
    }
    if !faults.is_empty() {
        bail!("the home of unsafe:\n  {}", faults.join("\n  "));
    }
    Ok(())
}

fn fault(room: &str, source: &str) -> Option<&'static str> {
    let code_lines = || {
        source
            .lines()
            .map(str::trim_start)
            .filter(|l| !l.starts_with("//"))
    };
    let opts_in = code_lines().any(|line| {
        let attribute = ["#[allow(", "#![allow(", "#[expect(", "#![expect("];
        attribute.iter().any(|a| line.starts_with(a)) && line.contains("unsafe_code")
    });
    if !opts_in {
        None
    } else if room != HOME {
        Some("allows unsafe outside its home")
    } else if !source.contains("//! # Safety") {
        Some("allows unsafe without a `//! # Safety` header")
    } else {
        None
    }
}

/// All `.rs` files below `dir`.
fn sources(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut to_visit = vec![dir.to_owned()];
    while let Some(dir) = to_visit.pop() {
        for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                if entry.file_name() != "target" {
                    to_visit.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_is_accepted_in_its_home_with_its_reason() {
        let with_reason = "//! # Safety\n#![allow(unsafe_code)]\n";
        let without = "#![allow(unsafe_code)]\n";
        for (room, source, accepted) in [
            ("sys", with_reason, true),
            ("sys", without, false),
            ("proc", with_reason, false),
            ("testkit", with_reason, false),
            ("proc", "    #[expect(dead_code, unsafe_code)]\n", false),
            ("proc", "// #![allow(unsafe_code)] is for sys\n", true),
            ("proc", "fn main() {}\n", true),
        ] {
            assert_eq!(fault(room, source).is_none(), accepted, "{room}: {source}");
        }
    }
}

//! Scenes of the lab (`lab/scenes`), played in guests that have the program and the victim in them.

use plimsoll_lab::{Guest, Kernel};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A guest in which a scene may take so long. What else it needs says whoever plays one.
pub(crate) fn guest(kernel: &str, deadline_s: u64) -> Guest {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Guest {
        programs: [("plimsoll-cli", "plimsoll"), ("plimsoll-testkit", "victim")]
            .map(|(package, program)| (package.to_owned(), program.to_owned()))
            .to_vec(),
        copy_in: vec![(workspace.join("lab/scenes"), PathBuf::from("/scenes"))],
        copy_out: vec![PathBuf::from(OUT)],
        deadline: Duration::from_secs(deadline_s),
        ..Guest::new(Kernel::named(kernel).unwrap())
    }
}

/// What a guest is to load.
pub(crate) fn modules(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Plays a scene, which succeeds: what `sh` is given there.
pub(crate) fn play(guest: &Guest, scene: &[&str]) -> Left {
    let mut said = Vec::new();
    let outcome = guest.run(&[&["sh"], scene].concat(), |_, bytes| {
        said.extend_from_slice(bytes);
        Ok(())
    });
    let outcome = outcome.unwrap();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert_eq!(outcome.status, 0, "{said}");
    Left {
        files: outcome.files,
        missing: outcome.missing,
        said,
        release: outcome.release,
    }
}

/// Where scenes leave what they have to show.
const OUT: &str = "/out";

/// What a scene left.
pub(crate) struct Left {
    files: Vec<(PathBuf, Vec<u8>)>,
    /// What it left and could not be sent.
    pub(crate) missing: Vec<String>,
    /// Output and complaints.
    pub(crate) said: String,
    /// The kernel that it ran on.
    pub(crate) release: String,
}

impl Left {
    /// A file by its name, or by how its name ends.
    pub(crate) fn bytes(&self, name: &str) -> &[u8] {
        let is_named = |path: &Path| {
            path.strip_prefix(OUT)
                .is_ok_and(|path| path == Path::new(name))
        };
        let ends_so = |path: &Path| path.to_string_lossy().ends_with(name);
        let find = |is_it: &dyn Fn(&Path) -> bool| self.files.iter().find(|(path, _)| is_it(path));
        let file = find(&is_named).or_else(|| find(&ends_so));
        let (_, bytes) = file.unwrap_or_else(|| panic!("the scene left no {name}"));
        bytes
    }

    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(self.bytes(name)).into_owned()
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(self.bytes(name)).unwrap()
    }

    /// Writes all of it below a directory.
    pub(crate) fn write_below(&self, directory: &Path) {
        for (path, bytes) in &self.files {
            let path = directory.join(path.strip_prefix(OUT).unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}

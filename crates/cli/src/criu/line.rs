//! CRIU's command line, as `getopt_long(3)` reads it: an action, options by long name or by letter, values behind a blank, `=`
//! or the letter itself. `--config FILE` gives options one a line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// Options that take a value; the letter is 0 where there is none.
const WITH_VALUE: [(&str, u8); 36] = [
    ("tree", b't'),
    ("images-dir", b'D'),
    ("work-dir", b'W'),
    ("prev-images-dir", 0),
    ("log-file", b'o'),
    ("verbosity", b'v'),
    ("pidfile", 0),
    ("timeout", 0),
    ("pre-dump-mode", 0),
    ("feature", 0),
    ("root", b'r'),
    ("external", 0),
    ("inherit-fd", 0),
    ("join-ns", b'J'),
    ("empty-ns", 0),
    ("action-script", 0),
    ("ghost-limit", 0),
    ("network-lock", 0),
    ("cgroup-root", 0),
    ("cgroup-yard", 0),
    ("cgroup-props", 0),
    ("cgroup-dump-controller", 0),
    ("freeze-cgroup", 0),
    ("ext-mount-map", 0),
    ("enable-fs", 0),
    ("skip-mnt", 0),
    ("veth-pair", 0),
    ("irmap-scan-path", 0),
    ("lsm-profile", 0),
    ("lsm-mount-context", 0),
    ("file-validation", 0),
    ("config", 0),
    ("address", 0),
    ("port", 0),
    ("status-fd", 0),
    ("libdir", b'L'),
];

/// Options that take a value only behind `=`.
const OPTIONAL_VALUE: [&str; 4] = ["manage-cgroups", "cpu-cap", "ext-unix-sk", "lazy-pages"];

/// Options without a value.
const SWITCHES: [(&str, u8); 34] = [
    ("restore-detached", b'd'),
    ("restore-sibling", b'S'),
    ("leave-running", b'R'),
    ("leave-stopped", b's'),
    ("shell-job", b'j'),
    ("file-locks", b'l'),
    ("tcp-established", 0),
    ("tcp-close", 0),
    ("ext-unix-sk", b'x'),
    ("evasive-devices", 0),
    ("link-remap", 0),
    ("force-irmap", 0),
    ("ghost-fiemap", 0),
    ("no-ghost-fiemap", 0),
    ("track-mem", 0),
    ("auto-dedup", 0),
    ("page-server", 0),
    ("stream", 0),
    ("no-default-config", 0),
    ("enable-external-sharing", 0),
    ("enable-external-masters", 0),
    ("mntns-compat-mode", 0),
    ("skip-in-flight", 0),
    ("skip-file-rwx-check", 0),
    ("weak-sysctls", 0),
    ("orphan-pts-master", 0),
    ("unprivileged", 0),
    ("allow-uprobes", 0),
    ("display-stats", 0),
    ("close", 0),
    ("log-pid", 0),
    ("check-only", 0),
    ("extra", 0),
    ("all", 0),
];

/// A command line, understood.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) action: String,
    /// Each with all its values, in order.
    options: BTreeMap<String, Vec<String>>,
}

impl Line {
    /// Reads the words behind the program's name.
    pub(super) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut words = words
            .into_iter()
            .map(|word| word.to_string_lossy().into_owned());
        let mut line = Self::default();
        while let Some(word) = words.next() {
            if let Some(option) = word.strip_prefix("--") {
                line.long(option, &mut words)?;
            } else if let Some(letters) =
                word.strip_prefix('-').filter(|letters| !letters.is_empty())
            {
                line.letters(letters, &mut words)?;
            } else if line.action.is_empty() {
                line.action = word;
            } // CRIU passes over what more there is, too
        }
        if line.action.is_empty() {
            return Err("no action is given".into());
        }
        if let Some(path) = line.value("config") {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("can't read {path}: {error}"))?;
            line.config(&text)?;
        }
        Ok(line)
    }

    fn long(
        &mut self,
        option: &str,
        words: &mut dyn Iterator<Item = String>,
    ) -> Result<(), String> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (option, None),
        };
        let takes_value = WITH_VALUE.iter().any(|(known, _)| *known == name);
        let switch =
            SWITCHES.iter().any(|(known, _)| *known == name) || OPTIONAL_VALUE.contains(&name);
        let value = match value {
            Some(value) => value,
            None if OPTIONAL_VALUE.contains(&name) || switch => String::new(),
            None if takes_value => words
                .next()
                .ok_or_else(|| format!("--{name} wants a value"))?,
            None => return Err(format!("the option --{name} is not known")),
        };
        self.give(name, value);
        Ok(())
    }

    /// Letters may stand together; the first that takes a value takes the rest.
    fn letters(
        &mut self,
        letters: &str,
        words: &mut dyn Iterator<Item = String>,
    ) -> Result<(), String> {
        for (place, letter) in letters.bytes().enumerate() {
            let known = |(_, known): &&(&str, u8)| *known == letter;
            if let Some((name, _)) = SWITCHES.iter().find(known) {
                self.give(name, String::new());
                continue;
            }
            let Some((name, _)) = WITH_VALUE.iter().find(known) else {
                return Err(format!("the option -{} is not known", char::from(letter)));
            };
            let rest = letters.get(place + 1..).unwrap_or_default();
            let value = if !rest.is_empty() || *name == "verbosity" {
                rest.to_owned()
            } else {
                words
                    .next()
                    .ok_or_else(|| format!("-{} wants a value", char::from(letter)))?
            };
            self.give(name, value);
            return Ok(());
        }
        Ok(())
    }

    fn config(&mut self, text: &str) -> Result<(), String> {
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let (name, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let value = value.trim().trim_matches('"').to_owned();
            self.long(name, &mut std::iter::once(value))?;
        }
        Ok(())
    }

    fn give(&mut self, name: &str, value: String) {
        self.options.entry(name.to_owned()).or_default().push(value);
    }

    /// Whether an option is given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    /// The value of an option: the last, where it is given more than once.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.options.get(name)?.last().map(String::as_str)
    }

    /// All values of an option.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.options
            .get(name)
            .into_iter()
            .flatten()
            .map(String::as_str)
    }

    /// The value of an option, as a number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.value(name)?.parse().ok()
    }

    /// Where the images are.
    pub(super) fn images(&self) -> PathBuf {
        PathBuf::from(self.value("images-dir").unwrap_or("."))
    }

    /// Where logs and pid files go.
    pub(super) fn work(&self) -> PathBuf {
        self.value("work-dir")
            .map_or_else(|| self.images(), PathBuf::from)
    }
}

/// `1M`, `4096`.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = match text.as_bytes().last()? {
        b'K' | b'k' => (text.get(..text.len() - 1)?, 10),
        b'M' | b'm' => (text.get(..text.len() - 1)?, 20),
        b'G' | b'g' => (text.get(..text.len() - 1)?, 30),
        _ => (text, 0),
    };
    number.parse::<u64>().ok()?.checked_mul(1 << unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &str) -> Result<Line, String> {
        Line::parse(words.split(' ').map(OsString::from))
    }

    #[test]
    fn lines_of_callers_are_read() {
        let dump = line("dump --no-default-config -D dump/1 -o dump.log -v4 -t 66 --pidfile /x --timeout 10 -jl").unwrap();
        assert_eq!(
            (dump.action.as_str(), dump.number("tree")),
            ("dump", Some(66))
        );
        assert_eq!(dump.images(), PathBuf::from("dump/1"));
        assert!(dump.has("shell-job") && dump.has("file-locks") && !dump.has("leave-running"));
        let check = line("check --no-default-config -verbosity=0 --feature timens").unwrap();
        assert_eq!(check.value("feature"), Some("timens"));
        let restore =
            line("restore --images-dir=a --restore-detached --manage-cgroups=full").unwrap();
        assert!(restore.has("restore-detached"));
        assert_eq!(restore.value("manage-cgroups"), Some("full"));
        let twice = line("restore --cgroup-root /a --cgroup-root freezer:/b").unwrap();
        assert!(twice.values("cgroup-root").eq(["/a", "freezer:/b"]));
        assert_eq!(restore.work(), PathBuf::from("a"));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert!(line("dump --no-such-thing").is_err());
        assert!(line("--tree 5").is_err());
        assert!(line("dump --tree").is_err());
    }

    #[test]
    fn sizes() {
        assert_eq!(
            (size("5M"), size("17"), size("x")),
            (Some(5 << 20), Some(17), None)
        );
    }
}

//! `/proc/PID/cmdline`: the arguments, each ended by a NUL, unless the process wrote over them
//! (`proc_pid_cmdline(5)`, `setproctitle(3)`).

use crate::text;
use std::borrow::Cow;

/// The command as people see it: arguments with blanks between, harmless on a terminal. `None` where there
/// is none: kernel threads, zombies, and who blanked it out.
#[must_use]
pub fn shown(cmdline: &[u8]) -> Option<String> {
    let end = cmdline.iter().rposition(|&b| b != 0)?;
    let arguments = cmdline.get(..=end)?.split(|&b| b == 0).map(text::printable);
    Some(arguments.collect::<Vec<Cow<'_, str>>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn arguments_are_joined_and_made_harmless() {
        assert_eq!(shown(b"a\0b c\0").as_deref(), Some("a b c"));
        assert_eq!(shown(b"a\0\0b\0\0\0").as_deref(), Some("a  b"));
        assert_eq!(shown(b"x\x1b[2J\0").as_deref(), Some("x\\x1b[2J"));
        assert_eq!((shown(b""), shown(b"\0\0")), (None, None));
    }
}

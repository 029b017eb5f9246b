//! `etc/passwd` of the host that is read (`passwd(5)`): names for user ids.
//!
//! The file alone is asked, never NSS: a captured tree has its own users, and a directory server that does
//! not answer must not hold up a look at a host in trouble. Users it does not list go by their number.

use crate::text;
use crate::{ReadError, Root};
use std::collections::HashMap;

/// User names by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users(HashMap<u32, String>);

impl Users {
    /// Reads the host's file; no file is no names.
    ///
    /// # Errors
    /// When it is there and can't be read.
    pub fn read(root: &Root) -> Result<Self, ReadError> {
        match root.read("etc/passwd") {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.is_gone() => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Reads `name:password:uid:…` lines; of several names for one id the first counts, as it does for
    /// `getpwuid(3)`.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut names = HashMap::new();
        for line in text::lines(text) {
            let mut fields = line.split(|&b| b == b':');
            if let (Some(name), Some(uid)) = (fields.next(), fields.nth(1))
                && let Some(uid) = text::number(uid).and_then(|uid| u32::try_from(uid).ok())
            {
                names
                    .entry(uid)
                    .or_insert_with(|| text::printable(name).into_owned());
            }
        }
        Self(names)
    }

    /// The user's name, or the number in words.
    #[must_use]
    pub fn name(&self, uid: u32) -> String {
        self.0.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::Users;

    #[test]
    fn names_and_numbers() {
        let users =
            Users::parse(b"root:x:0:0:r:/root:/bin/sh\ntoor:x:0:0\n\nbad\na\x1b:x:7:7\n+::::::\n");
        assert_eq!(
            (users.name(0), users.name(7)),
            ("root".into(), "a\\x1b".into())
        );
        assert_eq!(users.name(1000), "1000");
    }
}

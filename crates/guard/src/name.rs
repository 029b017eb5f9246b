//! Names of workloads: any bytes made printable once, in memory of a fixed size, so that a name can be carried about, compared
//! with rules and written to a log without allocation, and so that a hostile one can do no harm anywhere.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt::{self, Write};

/// The most bytes of a name. Of a longer one the beginning is kept.
pub const LONGEST: usize = 240;

/// A printable name. What was no printable UTF-8 is `\xNN`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; LONGEST],
    length: u8,
}

impl Default for Name {
    fn default() -> Self {
        Self {
            bytes: [0; LONGEST],
            length: 0,
        }
    }
}

impl Name {
    /// From what a kernel file says.
    #[must_use]
    pub fn of(raw: &[u8]) -> Self {
        let mut name = Self::default();
        let _ = name.escape(raw); // what has no room is left out
        name
    }

    fn escape(&mut self, raw: &[u8]) -> fmt::Result {
        for chunk in raw.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() {
                    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                        write!(self, "\\x{byte:02x}")?;
                    }
                } else {
                    self.write_char(c)?;
                }
            }
            for byte in chunk.invalid() {
                write!(self, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.length.into()).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

/// Takes whole pieces; the first that has no room ends it.
impl Write for Name {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let begin = usize::from(self.length);
        let end = begin.checked_add(text.len()).ok_or(fmt::Error)?;
        let room = self.bytes.get_mut(begin..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = u8::try_from(end).map_err(|_| fmt::Error)?;
        Ok(())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Name, E> {
                Ok(Name::of(text.as_bytes()))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_names_are_harmless_and_long_ones_are_cut() {
        assert_eq!(
            Name::of(b"a\n\x1b[31m\xff").as_str(),
            "a\\x0a\\x1b[31m\\xff"
        );
        let long = Name::of(&[b'x'; 4096]);
        assert!(long.as_str().len() <= LONGEST && long.as_str().starts_with("xxx"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_name_that_comes_back(raw in prop::collection::vec(any::<u8>(), 0..300)) {
            let name = Name::of(&raw);
            prop_assert!(!name.as_str().chars().any(char::is_control));
            let json = serde_json::to_string(&name).unwrap();
            prop_assert_eq!(serde_json::from_str::<Name>(&json).unwrap(), name);
        }
    }
}

//! The shapes that settings are written in: what [`crate::format`] reads, the other way round.

use crate::mount::Version;
use plimsoll_units::{Bytes, Limit};

/// Something that can be written into a control file.
pub trait Setting {
    /// Its text for this interface.
    fn text(&self, version: Version) -> String;
}

impl Setting for str {
    fn text(&self, _: Version) -> String {
        self.to_owned()
    }
}

impl Setting for u64 {
    fn text(&self, _: Version) -> String {
        self.to_string()
    }
}

impl Setting for Bytes {
    fn text(&self, _: Version) -> String {
        self.get().to_string()
    }
}

impl Setting for bool {
    fn text(&self, _: Version) -> String {
        u8::from(*self).to_string()
    }
}

impl Setting for Limit {
    fn text(&self, version: Version) -> String {
        match (self, version) {
            (Self::Bytes(bytes), _) => bytes.get().to_string(),
            (Self::Max, Version::V2) => "max".to_owned(),
            (Self::Max, Version::V1) => "-1".to_owned(),
        }
    }
}

/// Makes one writing method for each setting of a group.
macro_rules! settings {
    ($settings:ident { $($(#[$doc:meta])* $name:ident: $value:ty = $file:literal,)* }) => {
        impl $settings<'_> {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// As [`Group::set`](super::Group::set).
                pub fn $name(&self, value: $value) -> Result<(), super::ControlError> {
                    self.0.set($file, &value)
                }
            )*
        }
    };
}

pub(crate) use settings;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use proptest::prelude::*;

    #[test]
    fn no_limit_is_said_in_the_words_of_the_interface() {
        assert_eq!(Limit::Max.text(Version::V1), "-1");
        assert_eq!(Limit::Max.text(Version::V2), "max");
        assert_eq!(false.text(Version::V2), "0");
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(bytes in 0..1u64 << 62) {
            let limit = Limit::Bytes(Bytes(bytes));
            for version in [Version::V1, Version::V2] {
                prop_assert_eq!(Limit::parse(limit.text(version).as_bytes()), Some(limit));
                prop_assert_eq!(Bytes::parse(Bytes(bytes).text(version).as_bytes()), Some(Bytes(bytes)));
            }
        }
    }
}

//! One way to write a file of `name value` lines as a struct: a row for each name that is known, and a
//! list that keeps the rest.

/// Defines a struct of optional counters, grouped by the unit the file gives them in.
///
/// Each group names the type that a reader hands out and the function that makes it from the file's
/// number. What has no row is kept in `unknown`, as the file has it.
macro_rules! counters {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( [$unit:ty = $from:expr] $( $(#[$doc:meta])* $field:ident = $key:literal, )* )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct $name {
            $($( $(#[$doc])* pub $field: Option<$unit>, )*)*
            /// What this version of the reader has no name for, as the file has it.
            pub unknown: Vec<(Box<[u8]>, u64)>,
        }

        impl $name {
            /// Takes one line's name and number.
            pub(crate) fn set(&mut self, key: &[u8], value: u64) {
                match key {
                    $($( $key => self.$field = Some($from(value)), )*)*
                    _ => self.unknown.push((key.into(), value)),
                }
            }
        }
    };
}

pub(crate) use counters;

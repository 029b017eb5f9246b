//! Names with `*` in them, which stands for any characters, `/` included.

use serde::Deserialize;

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl Pattern {
    /// Whether a name matches.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        is_like(&self.0, name)
    }
}

/// Whether a name matches a pattern.
#[must_use]
pub(crate) fn is_like(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = pieces.next_back() else {
        return rest.is_empty(); // no star at all
    };
    for piece in pieces {
        let Some((_, behind)) = rest.split_once(piece) else {
            return false;
        };
        rest = behind;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars() {
        let table = [
            ("/a/b", "/a/b", true),
            ("/a/b", "/a/bc", false),
            ("/a/*", "/a/b/c", true),
            ("/a/*", "/a", false),
            ("*/agents/*.scope", "/user.slice/agents/x.scope", true),
            ("*/agents/*.scope", "/user.slice/agents/x.service", false),
            ("*", "", true),
            ("a*a", "a", false),
            ("", "", true),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(is_like(pattern, name), expected, "{pattern} {name}");
        }
    }
}

//! `/proc/sys`: the kernel's settings (`Documentation/admin-guide/sysctl/`), by their dotted names.

use crate::text::number;
use crate::{ReadError, Root};

/// A setting's text, without the line's end: `kernel.osrelease`.
///
/// # Errors
/// As `open(2)` and `read(2)`.
pub fn text(root: &Root, name: &str) -> Result<Vec<u8>, ReadError> {
    let text = root.read(format!("proc/sys/{}", name.replace('.', "/")))?;
    Ok(text.trim_ascii_end().to_vec())
}

/// A setting that is one number, such as `vm.overcommit_memory` or `vm.min_free_kbytes`; `None` where this kernel has
/// none of that name, or it can't be read.
#[must_use]
pub fn value(root: &Root, name: &str) -> Option<u64> {
    number(text(root, name).ok()?.trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_this_host() {
        let root = Root::live();
        assert!(value(&root, "vm.overcommit_memory").is_some_and(|mode| mode <= 2));
        assert_eq!(value(&root, "vm.no_such_thing"), None);
        assert!(text(&root, "kernel.osrelease").unwrap().contains(&b'.'));
    }
}

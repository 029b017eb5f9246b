//! `/proc/PID/cgroup`: one line a hierarchy, `ID:CONTROLLERS:PATH` (`cgroups(7)`).

use crate::text;

/// The group of a process in one hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership<'a> {
    /// 0 is cgroup v2.
    pub hierarchy: u32,
    /// `memory`, `cpu,cpuacct`, `name=systemd`; empty for v2.
    pub controllers: &'a [u8],
    /// Path below the hierarchy's mount, any bytes; begins with `/`, or with `/..` outside the reader's
    /// cgroup namespace.
    pub path: &'a [u8],
}

/// All lines. The kernel makes no group with a newline in its name (`cgroup_mkdir` in `kernel/cgroup/cgroup.c`), but a
/// captured tree may hold anything: what is no such line is left out.
pub fn parse(text: &[u8]) -> impl Iterator<Item = Membership<'_>> {
    text::lines(text).filter_map(|line| {
        let mut fields = line.splitn(3, |&b| b == b':');
        Some(Membership {
            hierarchy: u32::try_from(text::number(fields.next()?)?).ok()?,
            controllers: fields.next()?,
            path: fields.next().filter(|path| path.starts_with(b"/"))?,
        })
    })
}

/// The group that memory is charged to: the `memory` hierarchy of v1 where there is one, else v2's.
#[must_use]
pub fn memory(text: &[u8]) -> Option<Membership<'_>> {
    let has_memory =
        |m: &Membership<'_>| m.controllers.split(|&b| b == b',').any(|c| c == b"memory");
    parse(text)
        .find(has_memory)
        .or_else(|| parse(text).find(|m| m.hierarchy == 0 && m.controllers.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_memory_goes_before_v2() {
        let text = b"9:name=systemd:/\n4:cpu,memory:/a:b\n0::/v2\n";
        assert_eq!(memory(text).unwrap().path, b"/a:b");
        assert_eq!(
            memory(b"9:name=systemd:/\n0::/v2 (deleted)\n")
                .unwrap()
                .path,
            b"/v2 (deleted)"
        );
        assert_eq!(memory(b""), None);
        assert_eq!(parse(b"0::/a\nb\n1:x\n1:y:z\n").count(), 1);
    }
}

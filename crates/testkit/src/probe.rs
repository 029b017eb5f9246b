//! How each need is looked for: the thing itself is tried, never a kernel version.

use crate::Need;
use plimsoll_units::Bytes;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Why `need` is not met, or `None` where it is.
pub(crate) fn lack(need: &Need) -> Option<String> {
    match need {
        Need::Root => (!is_root()).then(|| "not running as root".to_owned()),
        Need::Psi => unreadable("/proc/pressure/memory"),
        Need::CgroupV2Memory => absent_controller(cgroup_v2_offers("memory"), "v2", "memory"),
        Need::CgroupV2 => cgroup2_mount(&mounts())
            .is_none()
            .then(|| "no cgroup v2 hierarchy is mounted".to_owned()),
        Need::CgroupV1Memory => absent_controller(cgroup_v1_has("memory"), "v1", "memory"),
        Need::CgroupV1Freezer => absent_controller(cgroup_v1_has("freezer"), "v1", "freezer"),
        Need::Userfaultfd => no_userfaultfd(),
        Need::MemfdSecret => plimsoll_sys::secretmem::memfd_secret()
            .err()
            .map(|error| format!("memfd_secret: {error}")),
        Need::Swap => no_swap(&fs::read_to_string("/proc/swaps").unwrap_or_default()),
        Need::Zram => no_zram(),
        Need::Kpageflags => unreadable("/proc/kpageflags"),
        Need::Program(name) => no_program(name),
        Need::Numpy => no_numpy(),
        Need::Crit => no_crit(),
        Need::Criu => no_criu(),
        Need::MemoryFree(wanted) => {
            let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
            too_little(available(&meminfo), *wanted)
        }
        Need::Nftables => no_nftables(),
        Need::Lab => ["qemu-system-x86_64", "apt-get", "dpkg-deb", "setpriv", "xz"]
            .into_iter()
            .find_map(no_program),
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn unreadable(path: &str) -> Option<String> {
    let error = File::open(path).err()?;
    Some(format!("{path} can't be opened: {error}"))
}

pub(crate) fn mounts() -> String {
    // Mount points may hold any byte; those with others than UTF-8 are not the ones looked for.
    String::from_utf8_lossy(&fs::read("/proc/self/mountinfo").unwrap_or_default()).into_owned()
}

/// The fields after the lone dash of a `mountinfo` line (type, source, super options) and its mount point.
fn mount_fields(line: &str) -> Option<(&str, &str, &str)> {
    let (before, after) = line.split_once(" - ")?;
    let mount_point = before.split(' ').nth(4)?;
    let mut after = after.split(' ');
    Some((mount_point, after.next()?, after.nth(1)?))
}

pub(crate) fn cgroup2_mount(mountinfo: &str) -> Option<&str> {
    mountinfo
        .lines()
        .filter_map(mount_fields)
        .find_map(|(point, kind, _)| (kind == "cgroup2").then_some(point))
}

fn cgroup_v2_offers(controller: &str) -> bool {
    let mounts = mounts();
    let Some(mount) = cgroup2_mount(&mounts) else {
        return false;
    };
    fs::read_to_string(Path::new(mount).join("cgroup.controllers"))
        .is_ok_and(|offered| offered.split_ascii_whitespace().any(|c| c == controller))
}

fn cgroup_v1_has(controller: &str) -> bool {
    v1_mount(&mounts(), controller).is_some()
}

pub(crate) fn v1_mount<'a>(mountinfo: &'a str, controller: &str) -> Option<&'a str> {
    mountinfo
        .lines()
        .filter_map(mount_fields)
        .find_map(|(point, kind, options)| {
            let has = options.split(',').any(|option| option == controller);
            (kind == "cgroup" && has).then_some(point)
        })
}

fn absent_controller(present: bool, version: &str, controller: &str) -> Option<String> {
    (!present)
        .then(|| format!("no mounted cgroup {version} hierarchy has the {controller} controller"))
}

/// The device gives descriptors that see kernel faults (since Linux 6.1); before it, the system call did so
/// for root. The sysctl exists wherever the system call is built in (since Linux 5.2).
fn no_userfaultfd() -> Option<String> {
    let device = File::options()
        .read(true)
        .write(true)
        .open("/dev/userfaultfd");
    let error = device.err()?;
    let built_in = Path::new("/proc/sys/vm/unprivileged_userfaultfd").exists();
    (!(built_in && is_root())).then(|| format!("/dev/userfaultfd can't be opened: {error}"))
}

/// A batch of nothing, which a kernel without nftables refuses.
fn no_nftables() -> Option<String> {
    use rustix::io::Errno;
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send,
        socket_with,
    };
    const NFTABLES: u8 = 10;
    let message = |kind: u16| {
        let mut bytes = [
            20u32.to_ne_bytes(),
            [0; 4],
            [0; 4],
            [0; 4],
            [0, 0, 0, NFTABLES],
        ]
        .concat();
        bytes.splice(4..8, [kind.to_ne_bytes(), 1u16.to_ne_bytes()].concat());
        bytes
    };
    let ask = || {
        let flags = SocketFlags::CLOEXEC;
        let protocol = Some(netlink::NETFILTER);
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        let batch = [message(0x10), message(0x11)].concat();
        send(&socket, &batch, SendFlags::empty())?;
        let mut answer = [0u8; 64];
        match recv(&socket, &mut answer[..], RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => Ok(()), // nothing to complain about
            Err(errno) => Err(errno),
            Ok(_) => Err(Errno::OPNOTSUPP),
        }
    };
    ask().err().map(|errno| format!("nftables: {errno}"))
}

fn no_swap(swaps: &str) -> Option<String> {
    // The first line is the heading.
    (swaps.lines().count() < 2).then(|| "no swap area is in use".to_owned())
}

fn no_zram() -> Option<String> {
    let there = ["/sys/class/zram-control", "/sys/block/zram0"];
    (!there.iter().any(|path| Path::new(path).exists()))
        .then(|| "this kernel has no zram (built in or loaded)".to_owned())
}

fn no_program(name: &str) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    (!std::env::split_paths(&path).any(|dir| dir.join(name).is_file()))
        .then(|| format!("{name} is not on PATH"))
}

fn no_crit() -> Option<String> {
    let tells = std::process::Command::new("crit").arg("--version").output();
    let tells = tells.is_ok_and(|output| output.status.success());
    (!tells).then(|| "no crit on PATH that tells its version (CRIU 4.0 and later)".to_owned())
}

/// The CRIU to test with.
#[must_use]
pub fn criu() -> PathBuf {
    std::env::var_os("PLIMSOLL_CRIU").map_or_else(|| "criu".into(), PathBuf::from)
}

fn no_criu() -> Option<String> {
    let tells = std::process::Command::new(criu()).arg("--version").output();
    let text = tells.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let found = text.is_ok_and(|text| text.contains("Version: 4."));
    (!found).then(|| {
        format!(
            "{} is no CRIU 4 (PLIMSOLL_CRIU names another)",
            criu().display()
        )
    })
}

fn no_numpy() -> Option<String> {
    let mut python = std::process::Command::new("/usr/bin/python3");
    let imported = python.args(["-c", "import numpy"]).output();
    let has = imported.is_ok_and(|output| output.status.success());
    (!has).then(|| "/usr/bin/python3 has no numpy".to_owned())
}

fn available(meminfo: &str) -> Bytes {
    let line = meminfo
        .lines()
        .find_map(|l| l.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|l| l.trim().strip_suffix(" kB")?.parse().ok());
    Bytes::from_kib(kib.unwrap_or_default())
}

fn too_little(available: Bytes, wanted: Bytes) -> Option<String> {
    (available < wanted).then(|| format!("{available} of memory available, {wanted} wanted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
24 1 0:22 / /proc rw,nosuid - proc proc rw
31 24 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup rw,nsdelegate
34 24 0:30 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
35 24 0:31 / /sys/fs/cgroup/systemd rw,nosuid - cgroup cgroup rw,xattr,name=systemd
";

    #[test]
    fn hierarchies_are_found_by_type_and_options() {
        assert_eq!(cgroup2_mount(MOUNTINFO), Some("/sys/fs/cgroup/unified"));
        assert_eq!(v1_mount(MOUNTINFO, "memory"), Some("/sys/fs/cgroup/memory"));
        assert_eq!(v1_mount(MOUNTINFO, "freezer"), None);
        assert_eq!(cgroup2_mount("nonsense\n\n - \n"), None);
    }

    #[test]
    fn swap_is_more_than_its_heading() {
        let heading = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert!(no_swap(heading).is_some());
        let used = format!("{heading}/dev/zram0   partition\t1048572\t\t0\t\t-2\n");
        assert_eq!(no_swap(&used), None);
    }

    #[test]
    fn memory_is_compared_with_what_is_available() {
        let meminfo = "MemTotal:  2048 kB\nMemAvailable:  1024 kB\n";
        assert_eq!(available(meminfo), Bytes::from_kib(1024));
        assert_eq!(too_little(available(meminfo), Bytes::from_kib(1024)), None);
        assert!(too_little(available(meminfo), Bytes::from_kib(1025)).is_some());
        assert_eq!(available("MemAvailable: lots"), Bytes::ZERO);
    }

    #[test]
    fn programs_are_looked_for_on_path() {
        assert_eq!(no_program("sh"), None);
        assert!(no_program("no-such-program-anywhere").is_some());
    }
}

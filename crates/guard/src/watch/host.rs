//! The host's own files: `/proc/meminfo`, `/proc/vmstat`, `/proc/pressure/memory`.

use crate::observation::Host;
use plimsoll_proc::kernel_text;
use plimsoll_proc::text::{lines, number, words};
use plimsoll_units::Bytes;
use rustix::fd::OwnedFd;
use rustix::io::Errno;

#[derive(Debug)]
pub(super) struct HostFiles {
    meminfo: OwnedFd,
    vmstat: OwnedFd,
    /// None before 4.20, or where it is switched off.
    pressure: Option<OwnedFd>,
    page_bytes: u64,
}

impl HostFiles {
    pub(super) fn open() -> Result<Self, Errno> {
        Ok(Self {
            meminfo: kernel_text::open(None, c"/proc/meminfo")?,
            vmstat: kernel_text::open(None, c"/proc/vmstat")?,
            pressure: kernel_text::open(None, c"/proc/pressure/memory").ok(),
            page_bytes: u64::try_from(rustix::param::page_size()).unwrap_or(0),
        })
    }

    /// A file that can't be read now leaves what was there.
    pub(super) fn read(&self, buffer: &mut [u8], host: &mut Host) {
        if let Some(text) = kernel_text::read(&self.meminfo, buffer) {
            meminfo(text, host);
        }
        if let Some(text) = kernel_text::read(&self.vmstat, buffer) {
            vmstat(text, self.page_bytes, host);
        }
        let pressure = self.pressure.as_ref();
        if let Some(text) = pressure.and_then(|file| kernel_text::read(file, buffer)) {
            (host.some_us, host.full_us) = (total_us(text, b"some"), total_us(text, b"full"));
        }
    }
}

fn meminfo(text: &[u8], host: &mut Host) {
    for line in lines(text) {
        let mut words = words(line);
        let (Some(key), Some(kib)) = (words.next(), words.next().and_then(number)) else {
            continue;
        };
        let field = match key {
            b"MemTotal:" => &mut host.total_bytes,
            b"MemAvailable:" => &mut host.available_bytes,
            b"SwapTotal:" => &mut host.swap_total_bytes,
            b"SwapFree:" => &mut host.swap_free_bytes,
            _ => continue,
        };
        *field = Bytes::from_kib(kib);
    }
}

fn vmstat(text: &[u8], page_bytes: u64, host: &mut Host) {
    let mut refaulted = 0_u64;
    for line in lines(text) {
        let mut words = words(line);
        let (Some(key), Some(count)) = (words.next(), words.next().and_then(number)) else {
            continue;
        };
        let bytes = Bytes(count.saturating_mul(page_bytes));
        match key {
            b"pswpin" => host.swapped_in_bytes = bytes,
            b"pswpout" => host.swapped_out_bytes = bytes,
            // One counter before 5.9, two since (170b04b7ae49).
            b"workingset_refault" | b"workingset_refault_anon" | b"workingset_refault_file" => {
                refaulted = refaulted.saturating_add(bytes.get());
            }
            b"oom_kill" => host.oom_kills = count,
            _ => {}
        }
    }
    host.refaulted_bytes = Bytes(refaulted);
}

fn total_us(text: &[u8], kind: &[u8]) -> Option<u64> {
    let mut found = lines(text).filter(|line| words(line).next() == Some(kind));
    number(words(found.next()?).last()?.strip_prefix(b"total=")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_count() {
        let mut host = Host::default();
        meminfo(
            include_bytes!("../../../proc/fixtures/meminfo-6.18.txt"),
            &mut host,
        );
        assert_eq!(host.total_bytes, Bytes::from_kib(24_684_096));
        assert!(host.available_bytes > Bytes::ZERO);
        vmstat(b"pswpin 2\npswpout 3\nworkingset_refault_anon 1\nworkingset_refault_file 4\noom_kill 7\n", 4096, &mut host);
        assert_eq!(
            (host.swapped_in_bytes, host.refaulted_bytes),
            (Bytes(8192), Bytes(5 * 4096))
        );
        assert_eq!(host.oom_kills, 7);
        let text = b"some avg10=0.00 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
        assert_eq!(
            (total_us(text, b"some"), total_us(text, b"full")),
            (Some(12), Some(5))
        );
        assert_eq!(total_us(b"", b"some"), None);
    }

    #[test]
    fn this_host_is_read() {
        let mut host = Host::default();
        HostFiles::open()
            .unwrap()
            .read(&mut [0; 64 << 10], &mut host);
        assert!(host.available_bytes > Bytes::ZERO && host.available_bytes < host.total_bytes);
    }
}

//! Whether what a balloon gave back to the hypervisor is still part of `MemTotal`.
//!
//! Balloon drivers take their pages out of `MemTotal` (`adjust_managed_page_count`), but virtio-balloon leaves them in
//! where the device has negotiated `VIRTIO_BALLOON_F_DEFLATE_ON_OOM`
//! (`drivers/virtio/virtio_balloon.c`, `fill_balloon`). The bus shows the features, bit 0 first.

use crate::Root;

const DEVICES: &str = "sys/bus/virtio/devices";

/// The virtio device id of a balloon.
const BALLOON: &[u8] = b"0x0005";

/// `VIRTIO_BALLOON_F_DEFLATE_ON_OOM`.
const DEFLATE_ON_OOM: usize = 2;

/// Whether `MemTotal` includes the balloon.
#[must_use]
pub fn in_total(root: &Root) -> bool {
    let devices = root.list(DEVICES).unwrap_or_default();
    devices.iter().filter_map(|name| name.to_str()).any(|name| {
        let read = |file| {
            root.read(format!("{DEVICES}/{name}/{file}"))
                .unwrap_or_default()
        };
        read("device").trim_ascii() == BALLOON
            && read("features").get(DEFLATE_ON_OOM) == Some(&b'1')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balloon_that_deflates_on_oom_is_in_the_total() {
        let dir = tempfile::tempdir().unwrap();
        let device = dir.path().join(DEVICES).join("virtio0");
        std::fs::create_dir_all(&device).unwrap();
        std::fs::write(device.join("device"), "0x0005\n").unwrap();
        for (features, in_total) in [("0110\n", true), ("0100\n", false), ("", false)] {
            std::fs::write(device.join("features"), features).unwrap();
            let root = Root::captured(dir.path()).unwrap();
            assert_eq!(super::in_total(&root), in_total, "{features:?}");
        }
    }
}

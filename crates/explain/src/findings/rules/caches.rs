//! Which object caches belong to what, by their names: the kernel says no more. And where the kernel is asked for more.

use plimsoll_proc::mountinfo::Mount;
use plimsoll_proc::text::printable;
use std::os::unix::ffi::OsStrExt;

/// A kind of cache.
#[derive(Debug)]
pub(super) struct Kind {
    /// Names begin with it.
    prefix: &'static str,
    /// Whose it is, in words.
    pub(super) owner: &'static str,
    /// File systems whose inodes it holds.
    file_systems: &'static [&'static str],
}

/// The first that fits counts.
#[rustfmt::skip]
const KINDS: &[Kind] = &[
    Kind { prefix: "nfs_inode_cache", owner: "inodes of NFS mounts", file_systems: &["nfs", "nfs4"] },
    Kind { prefix: "ext4_inode_cache", owner: "inodes of ext4", file_systems: &["ext4", "ext3", "ext2"] },
    Kind { prefix: "xfs_i", owner: "inodes of XFS", file_systems: &["xfs"] },
    Kind { prefix: "btrfs_", owner: "Btrfs: inodes, extents, delayed work", file_systems: &["btrfs"] },
    Kind { prefix: "shmem_inode_cache", owner: "files of tmpfs, and memfds", file_systems: &["tmpfs", "devtmpfs"] },
    Kind { prefix: "fuse_inode", owner: "inodes of FUSE", file_systems: &["fuse", "fuseblk", "virtiofs"] },
    Kind { prefix: "ovl_inode", owner: "inodes of overlay file systems (containers)", file_systems: &["overlay"] },
    Kind { prefix: "cifs_inode_cache", owner: "inodes of SMB mounts", file_systems: &["cifs", "smb3"] },
    Kind { prefix: "ceph_inode_info", owner: "inodes of Ceph", file_systems: &["ceph"] },
    Kind { prefix: "proc_inode_cache", owner: "inodes of /proc", file_systems: &["proc"] },
    Kind { prefix: "sock_inode_cache", owner: "open sockets", file_systems: &[] },
    Kind { prefix: "inode_cache", owner: "inodes of the kernel's own file systems (sysfs, cgroup, pipes)", file_systems: &["sysfs", "cgroup", "cgroup2"] },
    Kind { prefix: "dentry", owner: "names of files that were looked up", file_systems: &[] },
    Kind { prefix: "buffer_head", owner: "cached blocks of disks and of ext4 files", file_systems: &[] },
    Kind { prefix: "radix_tree_node", owner: "indices of cached files", file_systems: &[] },
    Kind { prefix: "kernfs_node_cache", owner: "entries of sysfs and cgroups: many groups, containers or devices", file_systems: &[] },
    Kind { prefix: "ebitmap_node", owner: "the SELinux policy", file_systems: &[] },
    Kind { prefix: "avtab", owner: "the SELinux policy", file_systems: &[] },
    Kind { prefix: "vm_area_struct", owner: "mappings of processes", file_systems: &[] },
    Kind { prefix: "anon_vma", owner: "mappings of processes", file_systems: &[] },
    Kind { prefix: "maple_node", owner: "mappings of processes", file_systems: &[] },
    Kind { prefix: "task_struct", owner: "threads", file_systems: &[] },
    Kind { prefix: "filp", owner: "open files", file_systems: &[] },
    Kind { prefix: "skbuff", owner: "packets in socket buffers", file_systems: &[] },
    Kind { prefix: "nf_conntrack", owner: "connections that netfilter tracks", file_systems: &[] },
    Kind { prefix: "TCP", owner: "TCP sockets", file_systems: &[] },
    Kind { prefix: "UNIX", owner: "UNIX sockets", file_systems: &[] },
    Kind { prefix: "iommu_iova", owner: "DMA addresses of devices", file_systems: &[] },
    Kind { prefix: "zio_", owner: "ZFS", file_systems: &["zfs"] },
    Kind { prefix: "dnode_t", owner: "ZFS", file_systems: &["zfs"] },
    Kind { prefix: "arc_buf", owner: "ZFS", file_systems: &["zfs"] },
    Kind { prefix: "kmalloc-cg-", owner: "allocations of this size on behalf of control groups: sockets, pipes, keys and others", file_systems: &[] },
    Kind { prefix: "kmalloc-", owner: "allocations of this size by any part of the kernel, or by a driver", file_systems: &[] },
];

/// What a cache of this name is; `None` for one that is not in the table.
pub(super) fn kind(cache: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| cache.starts_with(kind.prefix))
}

/// Whose it is, in words.
pub(super) fn owner(cache: &str) -> &'static str {
    kind(cache).map_or(
        "a part of the kernel, or a driver, that names it so",
        |kind| kind.owner,
    )
}

/// Where the file systems are mounted whose inodes a cache holds, with what is mounted.
pub(super) fn mounts(cache: &str, mounts: &[Mount]) -> Vec<String> {
    let file_systems = kind(cache).map_or(&[][..], |kind| kind.file_systems);
    let of_these = |mount: &&Mount| {
        file_systems
            .iter()
            .any(|name| mount.fs_type == name.as_bytes())
    };
    let shown = mounts.iter().filter(of_these).map(|mount| {
        let point = printable(mount.mount_point.as_os_str().as_bytes());
        format!("{point} ({})", printable(&mount.source))
    });
    shown.collect()
}

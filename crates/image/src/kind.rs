//! The kinds of image files: their names, their magic numbers, and what they hold.
//!
//! One table. A file is recognised by its magic number; raw files have none, and are recognised by their names. The numbers
//! are CRIU's (`criu/include/magic.h`, `criu/image-desc.c` of CRIU 4.2).

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// The word before the magic number of most images, since version 1.1 of the format.
pub const COMMON_MAGIC: u32 = 0x5456_4319;

/// The same for files about the work itself: statistics, the inode cache.
pub const SERVICE_MAGIC: u32 = 0x5510_5940;

/// The `img_version` of an inventory whose files have both words.
pub const VERSION_1_1: u32 = 2;

/// How the part of a file name that tells two files of one kind apart is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdForm {
    /// There is one such file.
    None,
    Decimal,
    Hex,
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    /// The name of the magic number, as `crit` prints it.
    pub(crate) name: &'static str,
    /// Zero for raw files.
    pub(crate) magic: u32,
    /// The file name before the id.
    pub(crate) stem: &'static str,
    pub(crate) id: IdForm,
    /// The file name after the id.
    pub(crate) suffix: &'static str,
    /// The type of its entries; empty for raw files.
    pub(crate) message: &'static str,
}

macro_rules! kinds {
    ($($kind:ident $name:literal $magic:literal $stem:literal $id:ident $suffix:literal $message:literal $doc:literal;)*) => {
        /// A kind of image file.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(#[doc = $doc] $kind,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Kind] = &[$(Kind::$kind,)*];

            pub(crate) const fn row(self) -> &'static Row {
                match self {
                    $(Kind::$kind => &Row {
                        name: $name, magic: $magic, stem: $stem, id: IdForm::$id, suffix: $suffix, message: $message,
                    },)*
                }
            }
        }
    };
}

kinds! {
    Inventory "INVENTORY" 0x5831_3116 "inventory" None ".img" "inventory_entry" "What the set is: version, the root task's namespaces. Written last.";
    Pstree "PSTREE" 0x5027_3030 "pstree" None ".img" "pstree_entry" "The processes and their threads.";
    Core "CORE" 0x5505_3847 "core-" Decimal ".img" "core_entry" "One thread: registers, signals, timers, credentials. By thread id.";
    Ids "IDS" 0x5443_2030 "ids-" Decimal ".img" "task_kobj_ids_entry" "Which kernel objects a process shares with whom. By pid.";
    Mm "MM" 0x5749_2820 "mm-" Decimal ".img" "mm_entry" "A process's mappings. By pid.";
    Fs "FS" 0x5140_3912 "fs-" Decimal ".img" "fs_entry" "Working directory, root, umask. By pid.";
    Fdinfo "FDINFO" 0x5621_3732 "fdinfo-" Decimal ".img" "fdinfo_entry" "A table of descriptors. By its id in `ids`.";
    Pagemap "PAGEMAP" 0x5608_4025 "pagemap-" Decimal ".img" "pagemap_entry" "Which pages of a process are stored. By pid. A head comes first.";
    ShmemPagemap "PAGEMAP" 0x5608_4025 "pagemap-shmem-" Decimal ".img" "pagemap_entry" "Which pages of a shared memory object are stored. By its id.";
    Files "FILES" 0x5630_3138 "files" None ".img" "file_entry" "Open files of every type.";
    RemapFpath "REMAP_FPATH" 0x5913_3954 "remap-fpath" None ".img" "remap_file_path_entry" "Files whose path no longer leads to them.";
    GhostFile "GHOST_FILE" 0x5258_3605 "ghost-file-" Hex ".img" "ghost_file_entry" "An unlinked file with its content.";
    PipesData "PIPES_DATA" 0x5645_3709 "pipes-data" None ".img" "pipe_data_entry" "Bytes in pipes.";
    FifoData "FIFO_DATA" 0x5933_3054 "fifo-data" None ".img" "pipe_data_entry" "Bytes in FIFOs.";
    SkQueues "SK_QUEUES" 0x5626_4026 "sk-queues" None ".img" "sk_packet_entry" "What waits in sockets, with descriptors in flight.";
    TcpStream "TCP_STREAM" 0x5146_5506 "tcp-stream-" Hex ".img" "tcp_stream_entry" "An established connection with both queues. By the socket's inode.";
    MemfdInode "MEMFD_INODE" 0x4845_3499 "memfd" None ".img" "memfd_inode_entry" "Memory files.";
    TtyInfo "TTY_INFO" 0x5945_3036 "tty-info" None ".img" "tty_info_entry" "Terminals.";
    TtyData "TTY_DATA" 0x5941_3026 "tty-data" None ".img" "tty_data_entry" "What waits in terminals.";
    FileLocks "FILE_LOCKS" 0x5432_3616 "filelocks" None ".img" "file_lock_entry" "Locks and leases.";
    Seccomp "SECCOMP" 0x6441_3049 "seccomp" None ".img" "seccomp_entry" "Chains of seccomp filters.";
    Cgroup "CGROUP" 0x5938_3330 "cgroup" None ".img" "cgroup_entry" "Control groups, their properties, who was in which.";
    Cpuinfo "CPUINFO" 0x6140_4013 "cpuinfo" None ".img" "cpuinfo_entry" "What the processor could do.";
    Timens "TIMENS" 0x4311_4433 "timens-" Decimal ".img" "timens_entry" "The clocks at the dump, to set a time namespace by.";
    Pidns "PIDNS" 0x6115_7326 "pidns-" Decimal ".img" "pidns_entry" "A pid namespace from outside.";
    Utsns "UTSNS" 0x5447_3203 "utsns-" Decimal ".img" "utsns_entry" "Host and domain name.";
    Userns "USERNS" 0x5547_4906 "userns-" Decimal ".img" "userns_entry" "Maps of user and group ids.";
    Mnts "MNTS" 0x5556_3928 "mountpoints-" Decimal ".img" "mnt_entry" "Mounts of a namespace.";
    IpcVar "IPC_VAR" 0x5311_5007 "ipcns-var-" Decimal ".img" "ipc_var_entry" "Limits of an IPC namespace.";
    IpcShm "IPCNS_SHM" 0x4628_3044 "ipcns-shm-" Decimal ".img" "ipc_shm_entry" "System V shared memory.";
    IpcMsg "IPCNS_MSG" 0x5545_3737 "ipcns-msg-" Decimal ".img" "ipc_msg_entry" "System V message queues.";
    IpcSem "IPCNS_SEM" 0x5957_3019 "ipcns-sem-" Decimal ".img" "ipc_sem_entry" "System V semaphores.";
    Netdev "NETDEV" 0x5737_3951 "netdev-" Decimal ".img" "net_device_entry" "Network devices of a namespace.";
    Netns "NETNS" 0x5593_3752 "netns-" Decimal ".img" "netns_entry" "Settings of a network namespace.";
    Autofs "AUTOFS" 0x4935_3943 "autofs-" Decimal ".img" "autofs_entry" "An automounter's mount.";
    BinfmtMisc "BINFMT_MISC" 0x6734_3323 "binfmt-misc" None ".img" "binfmt_misc_entry" "Registered executable formats.";
    BpfmapFile "BPFMAP_FILE" 0x5750_6142 "bpfmap-file" None ".img" "bpfmap_file_entry" "BPF maps.";
    BpfmapData "BPFMAP_DATA" 0x6432_4033 "bpfmap-data" None ".img" "bpfmap_data_entry" "What is in BPF maps.";
    Apparmor "APPARMOR" 0x5942_3047 "apparmor" None ".img" "apparmor_entry" "AppArmor policies.";
    Pidfd "PIDFD" 0x5443_5556 "pidfd" None ".img" "pidfd_entry" "Descriptors of processes.";
    Stats "STATS" 0x5709_3306 "stats-" None "" "stats_entry" "Figures of a dump (`stats-dump`) or a restore (`stats-restore`).";
    IrmapCache "IRMAP_CACHE" 0x5700_4059 "irmap-cache" None "" "irmap_cache_entry" "Paths of watched inodes, found before.";
    // Older CRIU wrote these apart; newer only reads them.
    Creds "CREDS" 0x5402_3547 "creds-" Decimal ".img" "creds_entry" "Credentials (older sets).";
    Vmas "VMAS" 0x5412_3737 "vmas-" Decimal ".img" "vma_entry" "Mappings (older sets).";
    Sigact "SIGACT" 0x5534_4201 "sigacts-" Decimal ".img" "sa_entry" "Signal actions (older sets).";
    Itimers "ITIMERS" 0x5746_4056 "itimers-" Decimal ".img" "itimer_entry" "Interval timers (older sets).";
    PosixTimers "POSIX_TIMERS" 0x5260_3957 "posix-timers-" Decimal ".img" "posix_timer_entry" "POSIX timers (older sets).";
    Rlimit "RLIMIT" 0x5711_3925 "rlimit-" Decimal ".img" "rlimit_entry" "Limits (older sets).";
    SignalShared "SIGNAL" 0x5925_5647 "signal-s-" Decimal ".img" "siginfo_entry" "A process's pending signals (older sets).";
    SignalPrivate "SIGNAL" 0x5925_5647 "signal-p-" Decimal ".img" "siginfo_entry" "A thread's pending signals (older sets).";
    RegFiles "REG_FILES" 0x5036_3636 "reg-files" None ".img" "reg_file_entry" "Regular files (older sets).";
    ExtFiles "EXT_FILES" 0x5925_5641 "ext-files" None ".img" "ext_file_entry" "Files of plugins (older sets).";
    NsFiles "NS_FILES" 0x6139_4011 "ns-files" None ".img" "ns_file_entry" "Namespace files (older sets).";
    EventfdFile "EVENTFD_FILE" 0x4452_3722 "eventfd" None ".img" "eventfd_file_entry" "Event counters (older sets).";
    EventpollFile "EVENTPOLL_FILE" 0x4502_3858 "eventpoll" None ".img" "eventpoll_file_entry" "epoll instances (older sets).";
    EventpollTfd "EVENTPOLL_TFD" 0x4443_3746 "eventpoll-tfd" None ".img" "eventpoll_tfd_entry" "What epoll watches (older sets).";
    Signalfd "SIGNALFD" 0x5732_3820 "signalfd" None ".img" "signalfd_entry" "signalfd (older sets).";
    Timerfd "TIMERFD" 0x5049_3712 "timerfd" None ".img" "timerfd_entry" "timerfd (older sets).";
    InotifyFile "INOTIFY_FILE" 0x4842_4431 "inotify" None ".img" "inotify_file_entry" "inotify instances (older sets).";
    InotifyWd "INOTIFY_WD" 0x5456_2009 "inotify-wd" None ".img" "inotify_wd_entry" "What inotify watches (older sets).";
    FanotifyFile "FANOTIFY_FILE" 0x5509_6122 "fanotify" None ".img" "fanotify_file_entry" "fanotify groups (older sets).";
    FanotifyMark "FANOTIFY_MARK" 0x5650_6035 "fanotify-mark" None ".img" "fanotify_mark_entry" "What fanotify watches (older sets).";
    Unixsk "UNIXSK" 0x5437_3943 "unixsk" None ".img" "unix_sk_entry" "UNIX sockets (older sets).";
    Inetsk "INETSK" 0x5644_3851 "inetsk" None ".img" "inet_sk_entry" "Internet sockets (older sets).";
    Packetsk "PACKETSK" 0x6045_4618 "packetsk" None ".img" "packet_sock_entry" "Packet sockets (older sets).";
    NetlinkSk "NETLINK_SK" 0x5800_5614 "netlinksk" None ".img" "netlink_sk_entry" "Netlink sockets (older sets).";
    Pipes "PIPES" 0x5651_3555 "pipes" None ".img" "pipe_entry" "Pipes (older sets).";
    Fifo "FIFO" 0x5836_4939 "fifo" None ".img" "fifo_entry" "FIFOs (older sets).";
    TtyFiles "TTY_FILES" 0x5943_3025 "tty" None ".img" "tty_file_entry" "Open terminals (older sets).";
    Tunfile "TUNFILE" 0x5714_3751 "tunfile" None ".img" "tunfile_entry" "Open TUN devices (older sets).";
    // Raw: no mark, no messages.
    Pages "PAGES" 0 "pages-" Decimal ".img" "" "Pages, one after another, as a `pagemap` lists them. By `pages_id`.";
    Tmpfs "TMPFS_IMG" 0 "tmpfs-" Decimal ".tar.gz.img" "" "A tmpfs, as tar.";
    TmpfsDev "TMPFS_DEV" 0 "tmpfs-dev-" Decimal ".tar.gz.img" "" "A devtmpfs, as tar.";
    Ifaddr "IFADDR" 0 "ifaddr-" Decimal ".img" "" "Addresses, as `ip` saves them.";
    Route "ROUTE" 0 "route-" Decimal ".img" "" "Routes, as `ip` saves them.";
    Route6 "ROUTE6" 0 "route6-" Decimal ".img" "" "IPv6 routes, as `ip` saves them.";
    Rule "RULE" 0 "rule-" Decimal ".img" "" "Routing rules, as `ip` saves them.";
    Iptables "IPTABLES" 0 "iptables-" Decimal ".img" "" "As `iptables-save` prints it.";
    Ip6tables "IP6TABLES" 0 "ip6tables-" Decimal ".img" "" "As `ip6tables-save` prints it.";
    Nftables "NFTABLES" 0 "nftables-" Decimal ".img" "" "As `nft list ruleset` prints it.";
    NetnsCt "NETNF_CT" 0 "netns-ct-" Decimal ".img" "" "Tracked connections, as netlink messages.";
    NetnsExp "NETNF_EXP" 0 "netns-exp-" Decimal ".img" "" "Expected connections, as netlink messages.";
}

impl Kind {
    /// The name of its magic number, as `crit` prints it: `CORE`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Its magic number; `None` for raw files.
    pub fn magic(self) -> Option<u32> {
        Some(self.row().magic).filter(|magic| *magic != 0)
    }

    /// The type of its entries, by CRIU's name; `None` for raw files.
    pub fn message(self) -> Option<&'static str> {
        Some(self.row().message).filter(|message| !message.is_empty())
    }

    /// The word that comes before its magic number, if any.
    pub fn first_magic(self) -> Option<u32> {
        match self {
            _ if self.magic().is_none() => None,
            Self::Inventory => None,
            Self::Stats | Self::IrmapCache => Some(SERVICE_MAGIC),
            _ => Some(COMMON_MAGIC),
        }
    }

    /// The kind whose magic number this is; of two that share one, the first of the table.
    pub fn of_magic(magic: u32) -> Option<Self> {
        let all = Self::ALL.iter().copied();
        all.filter(|kind| kind.magic().is_some())
            .find(|kind| kind.magic() == Some(magic))
    }

    /// The name of a file of this kind: `core-77.img`. The id counts only where there can be several.
    pub fn file_name(self, id: u64) -> String {
        let row = self.row();
        match row.id {
            IdForm::None => format!("{}{}", row.stem, row.suffix),
            IdForm::Decimal => format!("{}{id}{}", row.stem, row.suffix),
            IdForm::Hex => format!("{}{id:x}{}", row.stem, row.suffix),
        }
    }

    /// Which kind a file name stands for, and its id (zero where there is only one such file).
    pub fn of_file_name(name: &OsStr) -> Option<(Self, u64)> {
        if matches!(name.as_bytes(), b"stats-dump" | b"stats-restore") {
            return Some((Self::Stats, 0));
        }
        Self::ALL
            .iter()
            .find_map(|kind| Some((*kind, kind.id_in(name.as_bytes())?)))
    }

    fn id_in(self, name: &[u8]) -> Option<u64> {
        let row = self.row();
        let id = name
            .strip_prefix(row.stem.as_bytes())?
            .strip_suffix(row.suffix.as_bytes())?;
        let radix = match row.id {
            IdForm::None => return id.is_empty().then_some(0),
            IdForm::Decimal => 10,
            IdForm::Hex => 16,
        };
        let id = str::from_utf8(id).ok()?;
        let number = u64::from_str_radix(id, radix).ok()?;
        // Only the one way that it is written: no sign, no leading zeros, no capitals.
        (self.file_name(number).as_bytes() == name).then_some(number)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_the_kind_that_gave_it() {
        for kind in Kind::ALL.iter().filter(|kind| **kind != Kind::Stats) {
            for id in [0, 7, 0x1f, u64::MAX] {
                let name = kind.file_name(id);
                let id = if kind.row().id == IdForm::None { 0 } else { id };
                let found = Kind::of_file_name(OsStr::new(&name));
                assert_eq!(found, Some((*kind, id)), "{name}");
            }
        }
    }

    #[test]
    fn what_is_nearly_a_name_is_none() {
        for name in [
            "core-.img",
            "core-007.img",
            "core-+7.img",
            "core-7",
            "ghost-file-1F.img",
            "inventory.img.new",
            "pagemap-shmem-.img",
            "",
        ] {
            assert_eq!(Kind::of_file_name(OsStr::new(name)), None, "{name}");
        }
    }

    #[test]
    fn only_kinds_that_look_alike_share_a_magic() {
        for kind in Kind::ALL {
            if let Some(magic) = kind.magic() {
                let first = Kind::of_magic(magic).unwrap();
                assert_eq!(first.message(), kind.message(), "{kind:?}");
                assert_eq!(first.name(), kind.name(), "{kind:?}");
            }
        }
    }
}

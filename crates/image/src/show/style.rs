//! How a field is shown: what its options in `proto/` ask for.

use crate::dynamic;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, Value};
use std::collections::HashMap;
use std::sync::LazyLock;

/// A number of names for bits, as `crit` has them.
pub(crate) type Bits = &'static [(&'static str, u64)];

/// How the values of a field are shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Style {
    Plain,
    Hex,
    /// An IPv4 address in one word, or an IPv6 address in four; each in network order.
    Address,
    Bits(Bits),
    /// A device number: 12 bits of major, 20 of minor.
    Device,
    /// A device number as the C library packs it.
    LibcDevice,
    Names(&'static [(u64, &'static str)]),
    /// Bytes that are text.
    Text,
    QuotedPrintable,
}

static STYLES: LazyLock<HashMap<String, Style>> = LazyLock::new(|| {
    let mut styles = HashMap::new();
    for message in dynamic::pool().all_messages() {
        for field in message.fields() {
            let style = read_options(&field);
            if style != Style::Plain {
                styles.insert(field.full_name().to_owned(), style);
            }
        }
    }
    styles
});

impl Style {
    /// The style of a field.
    pub(crate) fn of(field: &FieldDescriptor) -> Self {
        STYLES
            .get(field.full_name())
            .copied()
            .unwrap_or(Style::Plain)
    }
}

fn read_options(field: &FieldDescriptor) -> Style {
    let options = field.options();
    let Some(extension) = dynamic::pool().get_extension_by_name("criu") else {
        return Style::Plain;
    };
    let Value::Message(criu) = options.get_extension(&extension).into_owned() else {
        return Style::Plain;
    };
    let is_set = |name: &str| {
        criu.get_field_by_name(name)
            .is_some_and(|value| value.as_bool() == Some(true))
    };
    let bytes = matches!(field.kind(), Kind::Bytes);
    match () {
        () if is_set("text") => Style::Text,
        () if bytes && !text_option(&criu, "conv").is_empty() => Style::QuotedPrintable,
        () if is_set("hex") => Style::Hex,
        () if is_set("ipadd") => Style::Address,
        () if is_set("odev") => Style::LibcDevice,
        () if is_set("dev") => Style::Device,
        () => match text_option(&criu, "flags").as_str() {
            "" => names(&text_option(&criu, "dict"), field.name()),
            flags => bits(flags).map_or(Style::Hex, Style::Bits),
        },
    }
}

fn text_option(options: &DynamicMessage, name: &str) -> String {
    let value = options.get_field_by_name(name);
    value
        .as_ref()
        .and_then(|value| value.as_str())
        .unwrap_or_default()
        .to_owned()
}

fn bits(flags: &str) -> Option<Bits> {
    Some(match flags {
        "mmap.prot" => &[("PROT_READ", 1), ("PROT_WRITE", 2), ("PROT_EXEC", 4)],
        "mmap.flags" => &[
            ("MAP_SHARED", 1),
            ("MAP_PRIVATE", 2),
            ("MAP_DROPPABLE", 8),
            ("MAP_ANON", 0x20),
            ("MAP_GROWSDOWN", 0x100),
        ],
        "mmap.status" => &[
            ("VMA_AREA_REGULAR", 1),
            ("VMA_AREA_STACK", 1 << 1),
            ("VMA_AREA_VSYSCALL", 1 << 2),
            ("VMA_AREA_VDSO", 1 << 3),
            ("VMA_AREA_HEAP", 1 << 5),
            ("VMA_FILE_PRIVATE", 1 << 6),
            ("VMA_FILE_SHARED", 1 << 7),
            ("VMA_ANON_SHARED", 1 << 8),
            ("VMA_ANON_PRIVATE", 1 << 9),
            ("VMA_AREA_SYSVIPC", 1 << 10),
            ("VMA_AREA_SOCKET", 1 << 11),
            ("VMA_AREA_VVAR", 1 << 12),
            ("VMA_AREA_AIORING", 1 << 13),
            ("VMA_AREA_MEMFD", 1 << 14),
            ("VMA_AREA_SHSTK", 1 << 15),
            ("VMA_AREA_UPROBES", 1 << 17),
            ("VMA_UNSUPP", 1 << 31),
        ],
        "rfile.flags" => &[
            ("O_WRONLY", 0o1),
            ("O_RDWR", 0o2),
            ("O_CREAT", 0o100),
            ("O_EXCL", 0o200),
            ("O_NOCTTY", 0o400),
            ("O_TRUNC", 0o1000),
            ("O_APPEND", 0o2000),
            ("O_NONBLOCK", 0o4000),
            ("O_DSYNC", 0o10000),
            ("FASYNC", 0o20000),
            ("O_DIRECT", 0o40000),
            ("O_LARGEFILE", 0o100_000),
            ("O_DIRECTORY", 0o200_000),
            ("O_NOFOLLOW", 0o400_000),
            ("O_NOATIME", 0o1_000_000),
            ("O_CLOEXEC", 0o2_000_000),
        ],
        "pmap.flags" => &[("PE_PARENT", 1), ("PE_LAZY", 2), ("PE_PRESENT", 4)],
        "seals.flags" => &[
            ("F_SEAL_SEAL", 1),
            ("F_SEAL_SHRINK", 2),
            ("F_SEAL_GROW", 4),
            ("F_SEAL_WRITE", 8),
            ("F_SEAL_FUTURE_WRITE", 0x10),
        ],
        _ => return None,
    })
}

fn names(dictionary: &str, field: &str) -> Style {
    Style::Names(match (dictionary, field) {
        ("gen", "task_state") => &[(1, "Alive"), (3, "Zombie"), (6, "Stopped")],
        ("sk", "family") => &[
            (1, "UNIX"),
            (2, "INET"),
            (10, "INET6"),
            (16, "NETLINK"),
            (17, "PACKET"),
        ],
        ("sk", "type") => &[
            (1, "STREAM"),
            (2, "DGRAM"),
            (3, "RAW"),
            (5, "SEQPACKET"),
            (10, "PACKET"),
        ],
        ("sk", "state") => &[
            (1, "ESTABLISHED"),
            (2, "SYN_SENT"),
            (3, "SYN_RECV"),
            (4, "FIN_WAIT1"),
            (5, "FIN_WAIT2"),
            (6, "TIME_WAIT"),
            (7, "CLOSE"),
            (8, "CLOSE_WAIT"),
            (9, "LAST_ACK"),
            (10, "LISTEN"),
        ],
        ("sk", "proto") => &[(0, "IP"), (6, "TCP"), (17, "UDP"), (136, "UDPLITE")],
        _ => return Style::Plain,
    })
}

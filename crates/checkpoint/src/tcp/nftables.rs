//! Messages to nftables that drop every packet of some TCP connections: bytes only (`netlink(7)`,
//! `linux/netfilter/nf_tables.h`).
//!
//! One table of the family `inet` holds a set of connections for each IP version, with one element for each direction, and two
//! chains, for what comes in and what goes out, that look every packet up there. The table's name and shape are CRIU's, so
//! that it can lift a lock of ours and we can lift one of its.

use std::net::{IpAddr, SocketAddr};

/// A number in a message, as the kernel's header names it.
type Number = u16;

/// `NFT_MSG_*`.
const NEW_TABLE: Number = 0;
const DELETE_TABLE: Number = 2;
const NEW_CHAIN: Number = 3;
const NEW_RULE: Number = 6;
const NEW_SET: Number = 9;
const NEW_ELEMENTS: Number = 12;

const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const EXCLUSIVE: u16 = 0x200;

/// Whether a table goes with the socket that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It goes when the socket is closed (`NFT_TABLE_F_OWNER`, 5.12).
    Owned,
    /// It stays until it is deleted.
    Lasting,
}

/// IP versions: the set's name, where addresses lie in the packet's header, their length, and what `nft list` takes them for.
struct Version {
    set: &'static str,
    /// `NFPROTO_*`.
    protocol: u8,
    source: u32,
    destination: u32,
    address_bytes: u32,
    key_type: u32,
}

const VERSIONS: [Version; 2] = [
    Version {
        set: "conns4",
        protocol: 2,
        source: 12,
        destination: 16,
        address_bytes: 4,
        key_type: key_type(7),
    },
    Version {
        set: "conns6",
        protocol: 10,
        source: 8,
        destination: 24,
        address_bytes: 16,
        key_type: key_type(8),
    },
];

/// The concatenation of address, port, address and port in nft's own numbers, six bits each.
const fn key_type(address: u32) -> u32 {
    const PORT: u32 = 13;
    ((address << 6 | PORT) << 6 | address) << 6 | PORT
}

/// The table with its sets, chains and rules, in one transaction.
pub(super) fn make_table(table: &str, life: Life, mark: u32) -> Vec<u8> {
    const OWNER: u32 = 2;
    let mut batch = Batch::new();
    let flags = match life {
        Life::Owned => OWNER,
        Life::Lasting => 0,
    };
    batch.push(
        NEW_TABLE,
        CREATE | EXCLUSIVE,
        &[text(1, table), number(2, flags)],
    );
    for (id, version) in VERSIONS.iter().enumerate() {
        let key_bytes = 2 * (version.address_bytes + 4);
        batch.push(
            NEW_SET,
            CREATE,
            &[
                text(1, table),
                text(2, version.set),
                number(3, 0),
                number(4, version.key_type),
                number(5, key_bytes),
                number(10, u32::try_from(id).unwrap_or(0) + 1),
            ],
        );
    }
    for (chain, hook) in [("input", 1), ("output", 3)] {
        let place = [number(1, hook), number(2, 0)].concat();
        batch.push(
            NEW_CHAIN,
            CREATE,
            &[
                text(1, table),
                text(3, chain),
                nested(4, &place),
                text(7, "filter"),
            ],
        );
        let accept = [
            load_meta(MARK_KEY, 8),
            compare(8, &mark.to_ne_bytes()),
            verdict(1),
        ];
        batch.push_rule(table, chain, &accept);
        for version in &VERSIONS {
            batch.push_rule(table, chain, &drop_found(version));
        }
    }
    batch.finish()
}

/// One more connection: no packet passes either way.
pub(super) fn add_connection(table: &str, one: SocketAddr, other: SocketAddr) -> Vec<u8> {
    let version = match one.ip() {
        IpAddr::V4(_) => &VERSIONS[0],
        IpAddr::V6(_) => &VERSIONS[1],
    };
    let mut elements = Vec::new();
    for (from, to) in [(one, other), (other, one)] {
        let key = [end(from), end(to)].concat();
        elements.extend(nested(1, &nested(1, &bytes(1, &key))));
    }
    let mut batch = Batch::new();
    batch.push(
        NEW_ELEMENTS,
        CREATE,
        &[text(1, table), text(2, version.set), nested(3, &elements)],
    );
    batch.finish()
}

/// The table goes, with all that is in it.
pub(super) fn delete_table(table: &str) -> Vec<u8> {
    let mut batch = Batch::new();
    batch.push(DELETE_TABLE, 0, &[text(1, table)]);
    batch.finish()
}

/// Address and port as they lie in registers: every part fills whole words.
fn end(address: SocketAddr) -> Vec<u8> {
    let mut bytes = match address.ip() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    bytes.extend(address.port().to_be_bytes());
    bytes.extend([0, 0]);
    bytes
}

/// Drops a TCP packet whose ends are in the version's set.
fn drop_found(version: &Version) -> Vec<Vec<u8>> {
    const TCP: u8 = 6;
    /// Registers of four bytes begin at this number.
    const FIRST: u32 = 8;
    let address_words = version.address_bytes / 4;
    let network = |offset| (1, offset, version.address_bytes);
    let transport = |offset| (2, offset, 2);
    let source_port = FIRST + address_words;
    vec![
        load_meta(PROTOCOL_KEY, FIRST),
        compare(FIRST, &[version.protocol]),
        load_meta(TRANSPORT_KEY, FIRST),
        compare(FIRST, &[TCP]),
        load_payload(network(version.source), FIRST),
        load_payload(transport(0), source_port),
        load_payload(network(version.destination), source_port + 1),
        load_payload(transport(2), source_port + 1 + address_words),
        expression("lookup", &[text(1, version.set), number(2, FIRST)]),
        verdict(0),
    ]
}

/// `NFT_META_MARK`, `NFT_META_NFPROTO`, `NFT_META_L4PROTO`.
const MARK_KEY: u32 = 3;
const PROTOCOL_KEY: u32 = 15;
const TRANSPORT_KEY: u32 = 16;

fn load_meta(key: u32, register: u32) -> Vec<u8> {
    expression("meta", &[number(1, register), number(2, key)])
}

fn load_payload((base, offset, length): (u32, u32, u32), register: u32) -> Vec<u8> {
    let fields = [
        number(1, register),
        number(2, base),
        number(3, offset),
        number(4, length),
    ];
    expression("payload", &fields)
}

fn compare(register: u32, value: &[u8]) -> Vec<u8> {
    const EQUAL: u32 = 0;
    let fields = [
        number(1, register),
        number(2, EQUAL),
        nested(3, &bytes(1, value)),
    ];
    expression("cmp", &fields)
}

/// `NF_DROP` is 0, `NF_ACCEPT` is 1.
fn verdict(code: u32) -> Vec<u8> {
    const VERDICT_REGISTER: u32 = 0;
    let data = nested(2, &nested(2, &number(1, code)));
    expression("immediate", &[number(1, VERDICT_REGISTER), data])
}

fn expression(name: &str, fields: &[Vec<u8>]) -> Vec<u8> {
    nested(1, &[text(1, name), nested(2, &fields.concat())].concat())
}

/// Messages of one transaction.
struct Batch(Vec<u8>);

impl Batch {
    const BEGIN: u16 = 0x10;
    const END: u16 = 0x11;
    /// `NFNL_SUBSYS_NFTABLES`.
    const NFTABLES: u8 = 10;

    fn new() -> Self {
        let mut batch = Self(Vec::new());
        batch.message(Self::BEGIN, REQUEST, [0, 0, 0, Self::NFTABLES], &[]);
        batch
    }

    fn push(&mut self, kind: Number, flags: u16, attributes: &[Vec<u8>]) {
        const INET: u8 = 1;
        let kind = u16::from(Self::NFTABLES) << 8 | kind;
        let flags = REQUEST | ACKNOWLEDGE | flags;
        self.message(kind, flags, [INET, 0, 0, 0], &attributes.concat());
    }

    fn push_rule(&mut self, table: &str, chain: &str, expressions: &[Vec<u8>]) {
        self.push(
            NEW_RULE,
            CREATE | APPEND,
            &[
                text(1, table),
                text(2, chain),
                nested(4, &expressions.concat()),
            ],
        );
    }

    fn finish(mut self) -> Vec<u8> {
        self.message(Self::END, REQUEST, [0, 0, 0, Self::NFTABLES], &[]);
        self.0
    }

    fn message(&mut self, kind: u16, flags: u16, generic: [u8; 4], payload: &[u8]) {
        const HEADERS: usize = 20;
        let length = u32::try_from(HEADERS + payload.len()).unwrap_or(u32::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(flags.to_ne_bytes());
        self.0.extend([0; 8]); // sequence number and port: one batch at a time
        self.0.extend(generic);
        self.0.extend(payload);
    }
}

fn number(kind: Number, value: u32) -> Vec<u8> {
    bytes(kind, &value.to_be_bytes())
}

fn text(kind: Number, value: &str) -> Vec<u8> {
    bytes(kind, &[value.as_bytes(), &[0]].concat())
}

fn nested(kind: Number, attributes: &[u8]) -> Vec<u8> {
    const NESTED: u16 = 0x8000;
    bytes(kind | NESTED, attributes)
}

/// An attribute, padded to whole words. None here is longer than its length can say.
fn bytes(kind: Number, value: &[u8]) -> Vec<u8> {
    const HEADER: usize = 4;
    let length = u16::try_from(HEADER + value.len()).unwrap_or(u16::MAX);
    let mut attribute = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths of the messages of a batch.
    fn lengths(batch: &[u8]) -> Vec<usize> {
        let mut rest = batch;
        let mut lengths = Vec::new();
        while let Some(length) = rest.first_chunk() {
            let length = u32::from_ne_bytes(*length) as usize;
            lengths.push(length);
            rest = &rest[length..];
        }
        lengths
    }

    #[test]
    fn messages_fill_their_batch() {
        let batch = make_table("t", Life::Owned, 7);
        let lengths = lengths(&batch);
        // Its begin and end, the table, two sets, two chains with three rules each.
        assert_eq!(lengths.len(), 2 + 1 + 2 + 2 * 4);
        assert_eq!(lengths.iter().sum::<usize>(), batch.len());
    }

    #[test]
    fn a_key_is_as_long_as_its_set_says() {
        for (version, address) in VERSIONS.iter().zip(["1.2.3.4:5", "[::1]:5"]) {
            let key = end(address.parse().unwrap()).len() * 2;
            assert_eq!(key, 2 * (version.address_bytes as usize + 4));
        }
        // As `nft` counts: ipv4_addr . inet_service . ipv4_addr . inet_service.
        assert_eq!(VERSIONS[0].key_type, 0x001c_d1cd);
    }
}

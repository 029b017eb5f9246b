//! CRIU's own decoder reads what we write, and sees in it what we say is there.

use plimsoll_image::show::Document;
use plimsoll_image::{Kind, Reader, Writer, dynamic};
use plimsoll_testkit::need;
use prost::Message;
use prost_reflect::{
    Cardinality, DynamicMessage, FieldDescriptor, Kind as Type, MessageDescriptor, Value as Field,
};
use serde_json::Value;
use std::fs;
use std::process::Command;

/// A message with every field set; messages inside messages so deep, and no deeper than they must be.
fn filled(message: &MessageDescriptor, depth: usize) -> DynamicMessage {
    let mut filled = DynamicMessage::new(message.clone());
    for field in message.fields() {
        let is_message = matches!(field.kind(), Type::Message(_));
        if field.cardinality() != Cardinality::Required && is_message && depth == 0 {
            continue;
        }
        let value = value(&field, depth.saturating_sub(1));
        let value = if field.is_list() {
            Field::List(vec![value])
        } else {
            value
        };
        filled.set_field(&field, value);
    }
    filled
}

fn value(field: &FieldDescriptor, depth: usize) -> Field {
    let number = i32::try_from(field.number()).unwrap();
    match field.kind() {
        Type::Message(message) => Field::Message(filled(&message, depth)),
        Type::Enum(names) => Field::EnumNumber(names.values().last().unwrap().number()),
        Type::Bool => Field::Bool(true),
        Type::Bytes => Field::Bytes(format!("{} \u{e9}=.", field.name()).into_bytes().into()),
        Type::Int32 | Type::Sint32 | Type::Sfixed32 => Field::I32(-number),
        Type::Int64 | Type::Sint64 | Type::Sfixed64 => Field::I64(-i64::from(number) << 33),
        Type::Uint32 | Type::Fixed32 => Field::U32(field.number()),
        Type::Uint64 | Type::Fixed64 => Field::U64(u64::from(field.number()) << 33 | 1),
        other => panic!("no image has a {other:?}"),
    }
}

/// Lengths that raw bytes follow are made small.
fn shorten(message: &mut DynamicMessage) {
    let lengths = [
        "bytes",
        "length",
        "inq_len",
        "outq_len",
        "keys_bytes",
        "values_bytes",
        "nsems",
        "qnum",
        "len",
        "size",
    ];
    let name = message.descriptor_name();
    if ![
        "pipe_data_entry",
        "sk_packet_entry",
        "tcp_stream_entry",
        "bpfmap_data_entry",
        "ipc_sem_entry",
        "ipc_shm_entry",
        "ghost_chunk_entry",
    ]
    .contains(&name.as_str())
    {
        return;
    }
    for length in lengths {
        let is_wide = matches!(
            message.get_field_by_name(length).as_deref(),
            Some(Field::U64(_))
        );
        if message.get_field_by_name(length).is_some() {
            message.set_field_by_name(
                length,
                if is_wide {
                    Field::U64(3)
                } else {
                    Field::U32(3)
                },
            );
        }
    }
    if name == "ipc_shm_entry" {
        message.set_field_by_name("in_pagemaps", Field::Bool(false));
    }
}

trait Named {
    fn descriptor_name(&self) -> String;
}

impl Named for DynamicMessage {
    fn descriptor_name(&self) -> String {
        use prost_reflect::ReflectMessage;
        self.descriptor().name().to_owned()
    }
}

/// An image of this kind with one entry that has everything; `None` for raw kinds.
fn image(kind: Kind) -> Option<Vec<u8>> {
    let mut writer = Writer::new(Vec::new(), kind).ok()?;
    let mut messages = vec![kind.message()?];
    match kind {
        Kind::Pagemap | Kind::ShmemPagemap => messages.insert(0, "pagemap_head"),
        Kind::GhostFile => messages.push("ghost_chunk_entry"),
        Kind::IpcMsg => return None, // has a test of its own
        _ => {}
    }
    for name in messages {
        let mut message = filled(&dynamic::descriptor(name).unwrap(), 4);
        shorten(&mut message);
        let announced = writer.push_bytes(name, &message.encode_to_vec()).unwrap();
        let bytes = match announced {
            plimsoll_image::Payload::Bytes { length, .. } => {
                vec![7; usize::try_from(length).unwrap()]
            }
            plimsoll_image::Payload::Rest => b"content".to_vec(),
        };
        writer
            .push_payload(name, announced, &mut bytes.as_slice())
            .unwrap();
    }
    Some(writer.into_inner())
}

/// What `crit` prints of an image; `None` where it does not know the kind.
fn crit(image: &[u8]) -> Option<Value> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), image).unwrap();
    let output = Command::new("crit")
        .args(["decode", "--pretty", "-i"])
        .arg(file.path())
        .output()
        .unwrap();
    if output.status.success() {
        return Some(serde_json::from_slice(&output.stdout).unwrap());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let unknown = said.contains("No handler found") || said.contains("Unknown magic");
    assert!(unknown, "{said}");
    None
}

/// An older `crit` lacks fields; what it has must be what we have.
fn assert_agree(theirs: &Value, ours: &Value, path: &str) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for (name, value) in theirs {
                let path = format!("{path}.{name}");
                assert_agree(
                    value,
                    ours.get(name).unwrap_or_else(|| panic!("we lack {path}")),
                    &path,
                );
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            assert_eq!(theirs.len(), ours.len(), "{path}");
            for (number, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                assert_agree(theirs, ours, &format!("{path}.{number}"));
            }
        }
        _ => assert_eq!(theirs, ours, "{path}"),
    }
}

fn ours(image: &[u8], kind: Kind) -> Value {
    serde_json::to_value(Document::new(Reader::open_as(image, kind).unwrap())).unwrap()
}

#[test]
fn every_kind_with_every_field() {
    need!(Crit);
    let mut known = 0;
    for kind in Kind::ALL {
        let Some(image) = image(*kind) else {
            continue;
        };
        let ours = ours(&image, *kind);
        if let Some(theirs) = crit(&image) {
            assert_agree(&theirs, &ours, kind.name());
            known += 1;
        }
    }
    assert!(known > 50, "crit knows only {known}");
}

#[test]
fn a_message_queue() {
    need!(Crit);
    let mut writer = Writer::new(Vec::new(), Kind::IpcMsg).unwrap();
    let mut queue = filled(&dynamic::descriptor("ipc_msg_entry").unwrap(), 2);
    queue.set_field_by_name("qnum", Field::U32(2));
    writer
        .push_bytes("ipc_msg_entry", &queue.encode_to_vec())
        .unwrap();
    for text in ["one", "eighteen characters"] {
        let mut message = DynamicMessage::new(dynamic::descriptor("ipc_msg").unwrap());
        message.set_field_by_name("mtype", Field::U64(1));
        message.set_field_by_name("msize", Field::U32(u32::try_from(text.len()).unwrap()));
        let announced = writer
            .push_bytes("ipc_msg", &message.encode_to_vec())
            .unwrap();
        writer
            .push_payload("ipc_msg", announced, &mut text.as_bytes())
            .unwrap();
    }
    let image = writer.into_inner();
    assert_agree(&crit(&image).unwrap(), &ours(&image, Kind::IpcMsg), "queue");
}

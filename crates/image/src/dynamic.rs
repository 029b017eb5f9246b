//! Messages by the names of their fields: what no type of ours knows is here as well.
//!
//! [`prost_reflect`] keeps unknown fields in their place between the known ones, so that what is decoded and encoded again
//! is the same, byte for byte, for every message whose fields come in order, as all writers of images write them.

use crate::error::ImageError;
use prost::Message;
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage, Value,
};
use std::sync::LazyLock;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let bytes: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
    DescriptorPool::decode(bytes).expect("build.rs wrote it by the same library")
});

/// The descriptors of all messages in `proto/`.
pub fn pool() -> &'static DescriptorPool {
    &POOL
}

/// The descriptor of a message, by CRIU's name.
pub fn descriptor(message: &str) -> Option<MessageDescriptor> {
    POOL.get_message_by_name(message)
}

/// Decodes a message of this type with all that it holds.
///
/// # Errors
/// It is none, or lacks a required field (also one of a message inside it).
pub fn decode(message: &'static str, bytes: &[u8]) -> Result<DynamicMessage, ImageError> {
    let descriptor = descriptor(message).ok_or(ImageError::Missing {
        message: message.to_owned(),
        field: "descriptor".to_owned(),
    })?;
    let decoded =
        DynamicMessage::decode(descriptor, bytes).map_err(|source| ImageError::Decode {
            message,
            offset: 0,
            source,
        })?;
    check_required(&decoded)?;
    Ok(decoded)
}

/// Required fields are there, all the way down.
fn check_required(message: &DynamicMessage) -> Result<(), ImageError> {
    for field in message.descriptor().fields() {
        if field.cardinality() == Cardinality::Required && !message.has_field(&field) {
            return Err(ImageError::Missing {
                message: message.descriptor().name().to_owned(),
                field: field.name().to_owned(),
            });
        }
    }
    for (_, value) in message.fields() {
        inner_messages(value).try_for_each(check_required)?;
    }
    Ok(())
}

/// The messages in a field's value, whether it is one or many.
fn inner_messages(value: &Value) -> impl Iterator<Item = &DynamicMessage> {
    let (one, many) = match value {
        Value::List(values) => (None, values.as_slice()),
        other => (Some(other), [].as_slice()),
    };
    one.into_iter().chain(many).filter_map(Value::as_message)
}

/// The numbers of fields that nothing here knows, each with the type they were found in.
pub fn unknown_fields(message: &DynamicMessage) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    collect_unknown(message, &mut found);
    found
}

fn collect_unknown(message: &DynamicMessage, found: &mut Vec<(String, u32)>) {
    let name = message.descriptor().name().to_owned();
    found.extend(
        message
            .unknown_fields()
            .map(|field| (name.clone(), field.number())),
    );
    for (_, value) in message.fields() {
        inner_messages(value).for_each(|inner| collect_unknown(inner, found));
    }
}

/// Puts what `changed` knows in the place of what `original` knew; unknown fields of `original` stay.
///
/// Entries of a repeated field are matched by their order.
pub(crate) fn overlay(original: &mut DynamicMessage, changed: &DynamicMessage) {
    for field in original.descriptor().fields() {
        if !changed.has_field(&field) {
            original.clear_field(&field);
            continue;
        }
        let new = changed.get_field(&field).into_owned();
        let old = original
            .has_field(&field)
            .then(|| original.get_field(&field).into_owned());
        original.set_field(&field, overlay_value(old, new));
    }
}

fn overlay_value(old: Option<Value>, new: Value) -> Value {
    match (old, new) {
        (Some(Value::Message(mut old)), Value::Message(new)) => {
            overlay(&mut old, &new);
            Value::Message(old)
        }
        (Some(Value::List(old)), Value::List(new)) => {
            let mut old = old.into_iter();
            let merged = new.into_iter().map(|new| overlay_value(old.next(), new));
            Value::List(merged.collect())
        }
        (_, new) => new,
    }
}

/// The bytes of a message.
pub(crate) fn encode(message: &DynamicMessage) -> Vec<u8> {
    message.encode_to_vec()
}

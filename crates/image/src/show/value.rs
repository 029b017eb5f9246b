//! One value of a message, as it is shown.

use super::quoted::quoted_printable;
use super::style::{Bits, Style};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, Value};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of input in a line of base64, as MIME breaks it.
pub(crate) const BASE64_LINE_BYTES: usize = 57;

/// A value as it is shown; messages and lists lead on to what they hold.
#[derive(Debug, Clone)]
pub enum Shown<'a> {
    /// A message.
    Message(ShownMessage<'a>),
    /// The values of a repeated field.
    List(ShownList<'a>),
    /// What is shown as text: text, bytes, flags, addresses, hexadecimal numbers.
    Text(String),
    /// A number as it is.
    Number(i128),
    /// Yes or no.
    Bool(bool),
}

/// A message, and whether its numbers are shown in hexadecimal whatever their own options say.
#[derive(Debug, Clone, Copy)]
pub struct ShownMessage<'a> {
    message: &'a DynamicMessage,
    hex: bool,
}

/// A field that nothing here knows.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct UnknownField {
    /// Its number.
    pub number: u32,
    /// It as it lies in the message, tag included, in base64.
    pub bytes: String,
}

/// The values of a repeated field.
#[derive(Debug, Clone)]
pub struct ShownList<'a> {
    values: &'a [Value],
    field: FieldDescriptor,
    hex: bool,
}

impl<'a> ShownMessage<'a> {
    /// A whole message.
    pub fn new(message: &'a DynamicMessage) -> Self {
        Self {
            message,
            hex: false,
        }
    }

    /// Its fields that are set, in order of their numbers.
    pub fn fields(self) -> impl Iterator<Item = (String, Shown<'a>)> {
        self.message.fields().map(move |(field, value)| {
            let shown = show(&field, value, self.hex);
            (field.name().to_owned(), shown)
        })
    }

    /// Its fields that nobody knows.
    pub fn unknown_fields(self) -> impl Iterator<Item = UnknownField> + 'a {
        self.message.unknown_fields().map(|field| {
            let mut bytes = Vec::new();
            field.encode(&mut bytes);
            UnknownField {
                number: field.number(),
                bytes: STANDARD.encode(bytes),
            }
        })
    }
}

impl<'a> ShownList<'a> {
    /// The values, in their order; the words of an address are one.
    pub fn values(&self) -> impl Iterator<Item = Shown<'a>> + '_ {
        let is_address = Style::of(&self.field) == Style::Address;
        let address = is_address.then(|| address(self.values)).flatten();
        let each = if address.is_some() { &[] } else { self.values };
        let each = each
            .iter()
            .map(|value| show_one(&self.field, value, self.hex));
        address.map(Shown::Text).into_iter().chain(each)
    }
}

fn show<'a>(field: &FieldDescriptor, value: &'a Value, hex: bool) -> Shown<'a> {
    let Value::List(values) = value else {
        return show_one(field, value, hex);
    };
    Shown::List(ShownList {
        values,
        field: field.clone(),
        hex,
    })
}

fn show_one<'a>(field: &FieldDescriptor, value: &'a Value, hex: bool) -> Shown<'a> {
    let style = Style::of(field);
    let hex = hex || style == Style::Hex;
    match value {
        Value::Message(message) => Shown::Message(ShownMessage { message, hex }),
        Value::Bytes(bytes) => Shown::Text(match style {
            Style::Text => String::from_utf8_lossy(bytes).into_owned(),
            Style::QuotedPrintable => quoted_printable(bytes),
            _ => base64_lines(bytes),
        }),
        Value::String(text) => Shown::Text(text.clone()),
        Value::Bool(yes) => Shown::Bool(*yes),
        Value::EnumNumber(number) => enum_name(field, *number),
        Value::I32(number) => integer(style, hex, (*number).into()),
        Value::I64(number) => integer(style, hex, (*number).into()),
        Value::U32(number) => integer(style, hex, (*number).into()),
        Value::U64(number) => integer(style, hex, (*number).into()),
        // No image has a field of these types.
        Value::F32(_) | Value::F64(_) | Value::List(_) | Value::Map(_) => {
            Shown::Text(format!("{value}"))
        }
    }
}

fn enum_name(field: &FieldDescriptor, number: i32) -> Shown<'static> {
    let Kind::Enum(names) = field.kind() else {
        return Shown::Number(number.into());
    };
    match names.get_value(number) {
        Some(value) => Shown::Text(value.name().to_owned()),
        None => Shown::Number(number.into()),
    }
}

fn integer(style: Style, hex: bool, number: i128) -> Shown<'static> {
    if hex {
        let sign = if number < 0 { "-" } else { "" };
        return Shown::Text(format!("{sign}{:#x}", number.unsigned_abs()));
    }
    let Ok(unsigned) = u64::try_from(number) else {
        return Shown::Number(number);
    };
    match style {
        Style::Device => Shown::Text(format!("{}:{}", unsigned >> 20, unsigned & 0xf_ffff)),
        Style::LibcDevice => {
            let major = (unsigned >> 8) & 0xfff | (unsigned >> 32) & 0xffff_f000;
            let minor = unsigned & 0xff | (unsigned >> 12) & 0xffff_ff00;
            Shown::Text(format!("{major}:{minor}"))
        }
        Style::Bits(bits) => Shown::Text(bit_names(bits, unsigned)),
        Style::Names(names) => match names.iter().find(|(value, _)| *value == unsigned) {
            Some((_, name)) => Shown::Text((*name).to_owned()),
            None => Shown::Number(number),
        },
        _ => Shown::Number(number),
    }
}

fn bit_names(bits: Bits, value: u64) -> String {
    let mut names: Vec<String> = bits
        .iter()
        .filter(|(_, bit)| value & bit != 0)
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let rest = bits.iter().fold(value, |rest, (_, bit)| rest & !bit);
    if rest != 0 {
        names.push(format!("{rest:#x}"));
    }
    names.join(" | ")
}

/// One word is an IPv4 address, four are an IPv6 one.
fn address(words: &[Value]) -> Option<String> {
    let words: Vec<u32> = words.iter().map(Value::as_u32).collect::<Option<_>>()?;
    match *words.as_slice() {
        [word] => Some(Ipv4Addr::from(u32::from_be(word)).to_string()),
        [a, b, c, d] => {
            let bits = [a, b, c, d].iter().fold(0u128, |bits, word| {
                bits << 32 | u128::from(u32::from_be(*word))
            });
            Some(plain_ipv6(Ipv6Addr::from(bits)))
        }
        _ => None,
    }
}

/// An IPv6 address in hexadecimal groups, also where it holds an IPv4 one.
fn plain_ipv6(address: Ipv6Addr) -> String {
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => format!("::ffff:{high:x}:{low:x}"),
        _ => address.to_string(),
    }
}

/// Base64 in lines, each with its line feed, as MIME has it.
pub(crate) fn base64_lines(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(BASE64_LINE_BYTES) {
        STANDARD.encode_string(line, &mut text);
        text.push('\n');
    }
    text
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Message(message) => {
                let mut map = serializer.serialize_map(None)?;
                message.serialize_into(&mut map)?;
                map.end()
            }
            Self::List(list) => serializer.collect_seq(list.values()),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bool(yes) => serializer.serialize_bool(*yes),
            Self::Number(number) => match u64::try_from(*number) {
                Ok(number) => serializer.serialize_u64(number),
                Err(_) => serializer.serialize_i64(i64::try_from(*number).unwrap_or(i64::MIN)),
            },
        }
    }
}

impl ShownMessage<'_> {
    /// Its fields as entries of a map that may get others besides.
    pub(crate) fn serialize_into<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        for (name, value) in self.fields() {
            map.serialize_entry(&name, &value)?;
        }
        let unknown: Vec<_> = self.unknown_fields().collect();
        if !unknown.is_empty() {
            map.serialize_entry("unknown_fields", &unknown)?;
        }
        Ok(())
    }
}

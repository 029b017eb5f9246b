//! One image as text: a line for each field, messages indented below their names.
//!
//! ```text
//! mm-77.img: MM
//!   mm_start_code: 0x401000
//!   vmas: 21
//!     - start: 0x400000
//! ```

use plimsoll_image::show::{Shown, ShownMessage};
use plimsoll_image::{ImageError, Payload, Reader, dynamic};
use plimsoll_proc::text::printable;
use plimsoll_units::Bytes;
use std::io::{self, Read, Write};

/// Lists of plain values are put on lines of this width.
const LINE_CHARACTERS: usize = 90;

/// Writes all entries of an image.
///
/// # Errors
/// The inner one is about the image, the outer one about the output.
pub(super) fn entries<R: Read>(
    mut reader: Reader<R>,
    out: &mut impl Write,
) -> io::Result<Result<(), ImageError>> {
    loop {
        let frame = match reader.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        let message = match dynamic::decode(frame.message, &frame.bytes) {
            Ok(message) => message,
            Err(error) => return Ok(Err(error)),
        };
        fields(ShownMessage::new(&message), Indent::entry(), out)?;
        if let Payload::Bytes { length: 1.., .. } | Payload::Rest = frame.payload {
            let length = io::copy(&mut reader.payload(), &mut io::sink())?;
            writeln!(out, "    {} of content", Bytes(length))?;
        }
    }
}

/// How far a line is indented, and what stands before the first line of an element.
#[derive(Clone, Copy)]
struct Indent {
    columns: usize,
    first: &'static str,
}

impl Indent {
    fn entry() -> Self {
        Self {
            columns: 2,
            first: "- ",
        }
    }

    fn plain(columns: usize) -> Self {
        Self { columns, first: "" }
    }
}

fn fields(message: ShownMessage<'_>, indent: Indent, out: &mut impl Write) -> io::Result<()> {
    let mut first = indent.first;
    let below = indent.columns + indent.first.len();
    for (name, value) in message.fields() {
        let columns = if first.is_empty() {
            below
        } else {
            indent.columns
        };
        write!(out, "{:columns$}{first}{name}:", "")?;
        first = "";
        field_value(&value, below, out)?;
    }
    for field in message.unknown_fields() {
        let columns = if first.is_empty() {
            below
        } else {
            indent.columns
        };
        writeln!(
            out,
            "{:columns$}{first}unknown field {}: {}",
            "", field.number, field.bytes
        )?;
        first = "";
    }
    Ok(())
}

fn field_value(value: &Shown<'_>, columns: usize, out: &mut impl Write) -> io::Result<()> {
    match value {
        Shown::Message(message) => {
            writeln!(out)?;
            fields(*message, Indent::plain(columns + 2), out)
        }
        Shown::List(list) => {
            let mut words = Vec::new();
            let mut wrote_messages = false;
            for value in list.values() {
                match plain(&value) {
                    Some(word) => words.push(word),
                    None => {
                        if !wrote_messages {
                            writeln!(out)?;
                            wrote_messages = true;
                        }
                        if let Shown::Message(message) = value {
                            let indent = Indent {
                                columns: columns + 2,
                                first: "- ",
                            };
                            fields(message, indent, out)?;
                        }
                    }
                }
            }
            if wrote_messages {
                return Ok(());
            }
            word_lines(&words, columns + 2, out)
        }
        plain_value => writeln!(out, " {}", plain(plain_value).unwrap_or_default()),
    }
}

/// Many plain values, as many on a line as fit; runs of one value are counted.
fn word_lines(words: &[String], columns: usize, out: &mut impl Write) -> io::Result<()> {
    let mut line = String::new();
    for run in words.chunk_by(|a, b| a == b) {
        let word = match run {
            [word] => word.clone(),
            [word, ..] => format!("{word} (x{})", run.len()),
            [] => continue,
        };
        if !line.is_empty() && columns + line.len() + word.len() > LINE_CHARACTERS {
            write!(out, "{line}\n{:columns$}", "")?;
            line.clear();
        }
        line.push(' ');
        line.push_str(&word);
    }
    writeln!(out, "{line}")
}

/// A value that fits into a line; `None` for messages and lists.
fn plain(value: &Shown<'_>) -> Option<String> {
    Some(match value {
        Shown::Text(text) => printable(text.trim_end().as_bytes()).into_owned(),
        Shown::Number(number) => number.to_string(),
        Shown::Bool(yes) => yes.to_string(),
        Shown::Message(_) | Shown::List(_) => return None,
    })
}

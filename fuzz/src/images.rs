//! Checkpoint images: one file, packed pages, a whole set.

use plimsoll_image::directory::InMemory;
use plimsoll_image::packed::{PackedReader, Source};
use plimsoll_image::show::Document;
use plimsoll_image::verify::verify;
use plimsoll_image::{Kind, Reader, Writer, dynamic};
use std::hint::black_box;
use std::io::Cursor;

/// One image of whatever kind it says it is: framing, every decoder, what is shown, and what is written back.
pub fn image_files(bytes: &[u8]) {
    let Ok(mut reader) = Reader::open(bytes) else {
        return;
    };
    let kind = reader.kind();
    let mut writer = Writer::new(Vec::new(), kind).expect("a kind with a mark, in memory");
    while let Ok(Some(frame)) = reader.next_frame() {
        if dynamic::decode(frame.message, &frame.bytes).is_err() {
            break;
        }
        let announced = writer
            .push_bytes(frame.message, &frame.bytes)
            .expect("what was read can be written");
        let Ok(payload) = reader.read_payload(frame.payload) else {
            break;
        };
        writer
            .push_payload(frame.message, announced, &mut payload.as_slice())
            .expect("as much as was announced");
    }
    let written = writer.into_inner();
    let again = Reader::open_as(written.as_slice(), kind).expect("an image");
    black_box(serde_json::to_string(&Document::new(again)).is_ok());
}

/// A file of packed pages: its index, and every page that it claims to have.
pub fn packed_pages(bytes: &[u8]) {
    let Ok(mut packed) = PackedReader::open(Cursor::new(bytes)) else {
        return;
    };
    let mut page = vec![0; 4096];
    black_box(packed.check_frames().is_ok());
    for run in packed.runs().to_vec() {
        let found = packed.find(run.pages_id, run.first);
        assert_eq!(found, Some((run.source, run.count)));
        if let Source::Here(number) = run.source {
            black_box(packed.read_page(number, &mut page).is_ok());
        }
    }
}

/// A set: files, each after its kind, id and length.
pub fn image_sets(mut bytes: &[u8]) {
    let mut set = InMemory::default();
    while let [kind, id, low, high, rest @ ..] = bytes {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (content, after) = rest.split_at(length);
        let kind = Kind::ALL[usize::from(*kind) % Kind::ALL.len()];
        set.files
            .insert(kind.file_name((*id).into()).into(), content.to_vec());
        bytes = after;
    }
    set.parent = Some(Box::new(set.clone()));
    black_box(verify(&set).expect("it is in memory"));
}

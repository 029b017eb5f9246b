//! Every image of the fixtures is decoded and written back byte for byte.

use plimsoll_image::show::Document;
use plimsoll_image::{
    Entry, Kind, Reader, Writer, dynamic, pagemap::Pagemap, proto, read_all, write_all,
};
use prost::{Message, Name};
use std::fs;
use std::path::PathBuf;

/// All image files of all fixtures, with their kinds.
fn images() -> Vec<(PathBuf, Kind)> {
    let mut found = Vec::new();
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    for set in fs::read_dir(fixtures).unwrap() {
        let set = set.unwrap().path();
        for file in fs::read_dir(set).into_iter().flatten() {
            let path = file.unwrap().path();
            if let Some((kind, _)) = Kind::of_file_name(path.file_name().unwrap()) {
                found.push((path, kind));
            }
        }
    }
    assert!(
        found.len() > 60,
        "the fixtures are not where they should be"
    );
    found
}

#[test]
fn frames_are_written_back_as_they_were() {
    for (path, kind) in images() {
        if kind.magic().is_none() {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let mut reader = Reader::open_as(bytes.as_slice(), kind).unwrap();
        let mut writer = Writer::new(Vec::new(), kind).unwrap();
        while let Some(frame) = reader.next_frame().unwrap() {
            let decoded = dynamic::decode(frame.message, &frame.bytes).unwrap();
            assert!(dynamic::unknown_fields(&decoded).is_empty(), "{path:?}");
            assert_eq!(decoded.encode_to_vec(), frame.bytes, "{path:?}");
            let announced = writer.push_bytes(frame.message, &frame.bytes).unwrap();
            writer
                .push_payload(frame.message, announced, &mut reader.payload())
                .unwrap();
        }
        assert_eq!(writer.into_inner(), bytes, "{path:?}");
    }
}

fn typed<T: Message + Name + Default + PartialEq>(kind: Kind, bytes: &[u8]) -> Vec<u8> {
    let entries: Vec<Entry<T>> = read_all(kind, bytes).unwrap();
    assert!(
        entries
            .iter()
            .all(|entry| entry.unknown_fields().is_empty())
    );
    write_all(kind, &entries).unwrap()
}

#[test]
fn typed_entries_are_written_back_as_they_were() {
    for (path, kind) in images() {
        let bytes = fs::read(&path).unwrap();
        let back = match kind {
            Kind::Inventory => typed::<proto::InventoryEntry>(kind, &bytes),
            Kind::Pstree => typed::<proto::PstreeEntry>(kind, &bytes),
            Kind::Core => typed::<proto::CoreEntry>(kind, &bytes),
            Kind::Ids => typed::<proto::TaskKobjIdsEntry>(kind, &bytes),
            Kind::Mm => typed::<proto::MmEntry>(kind, &bytes),
            Kind::Fs => typed::<proto::FsEntry>(kind, &bytes),
            Kind::Fdinfo => typed::<proto::FdinfoEntry>(kind, &bytes),
            Kind::Pagemap | Kind::ShmemPagemap => {
                Pagemap::read(bytes.as_slice()).unwrap().write().unwrap()
            }
            Kind::Files => typed::<proto::FileEntry>(kind, &bytes),
            Kind::RemapFpath => typed::<proto::RemapFilePathEntry>(kind, &bytes),
            Kind::GhostFile => typed::<proto::GhostFileEntry>(kind, &bytes),
            Kind::PipesData => typed::<proto::PipeDataEntry>(kind, &bytes),
            Kind::SkQueues => typed::<proto::SkPacketEntry>(kind, &bytes),
            Kind::MemfdInode => typed::<proto::MemfdInodeEntry>(kind, &bytes),
            Kind::Seccomp => typed::<proto::SeccompEntry>(kind, &bytes),
            Kind::Timens => typed::<proto::TimensEntry>(kind, &bytes),
            Kind::Stats => typed::<proto::StatsEntry>(kind, &bytes),
            Kind::Pages => continue,
            other => panic!("no test for {other:?}"),
        };
        assert_eq!(back, bytes, "{path:?}");
    }
}

/// As `json.dump(indent=4)` of Python writes it.
fn json(document: &impl serde::Serialize) -> String {
    let mut text = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, indent);
    document.serialize(&mut serializer).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn images_look_as_crit_prints_them() {
    let mut compared = 0;
    for (path, kind) in images() {
        let expected = path.with_file_name(format!(
            "json/{}.json",
            path.file_stem().unwrap().to_str().unwrap()
        ));
        let Ok(expected) = fs::read_to_string(expected) else {
            continue;
        };
        let bytes = fs::read(&path).unwrap();
        let reader = Reader::open_as(bytes.as_slice(), kind).unwrap();
        assert_eq!(
            json(&Document::new(reader)),
            expected.trim_end(),
            "{path:?}"
        );
        compared += 1;
    }
    assert!(compared > 20, "only {compared} have a JSON beside them");
}

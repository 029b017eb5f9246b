//! The messages of `proto/` become Rust types, and a descriptor set for what looks at fields by name.
//!
//! `protox` compiles them: no `protoc` is needed. Names of messages are kept in their types ([`prost::Name`]), so
//! that a typed reader can find the descriptor of what it reads.

use std::path::PathBuf;
use std::{env, error, fs};

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut files = Vec::new();
    for entry in fs::read_dir("proto")? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            files.push(path);
        }
    }
    files.sort();
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).open_files(&files)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out.join("descriptors.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    prost_build::Config::new()
        .enable_type_names()
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

//! The `plimsoll` binary: words, tables, colours, exit codes. No kernel file is parsed here.

fn main() {}

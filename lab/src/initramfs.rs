//! The file system that a guest boots into: made for one run, gone with it.

use crate::cpio::Archive;
use crate::guest::Guest;
use crate::modules::Modules;
use crate::request::{self, Request};
use crate::{binaries, kernels};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Modules without which the agent can't speak, or a guest has no disk. Some are built into some kernels.
const ALWAYS: [&str; 3] = ["virtio_pci", "virtio_console", "virtio_blk"];

/// Where modules lie in the guest.
const MODULES: &str = "/lab/modules";

/// Packs the archive for one run of `command` in `guest`.
pub(crate) fn pack(
    guest: &Guest,
    kernel_modules: &Path,
    command: &[OsString],
    interactive: bool,
) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in ["dev", "proc", "sys", "tmp", "root", "run", "mnt"] {
        archive.directory(directory)?;
    }
    // Without these two the first process would start with no descriptors and no one would hear it fail.
    archive.device("dev/console", (5, 1))?;
    archive.device("dev/null", (1, 3))?;
    archive.file("bin/busybox", 0o755, &read(&kernels::busybox()?)?)?;
    archive.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    )?;
    archive.file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")?;
    let agent = binaries::build("plimsoll-lab", "lab-agent")?;
    archive.file("init", 0o755, &binaries::stripped(&agent)?)?;
    for (package, program) in &guest.programs {
        let built = binaries::build(package, program)?;
        archive.file(
            Path::new("bin").join(program),
            0o755,
            &binaries::stripped(&built)?,
        )?;
    }
    for (host, inside) in &guest.copy_in {
        copy_in(&mut archive, host, inside)?;
    }
    let mut wanted = ALWAYS.to_vec();
    wanted.extend(guest.modules.iter().map(String::as_str));
    let mut request = Request {
        command: command.to_vec(),
        copy_out: guest.copy_out.clone(),
        swap: guest.swap.is_some(),
        interactive,
        ..Request::default()
    };
    for (name, object) in Modules::list(kernel_modules)?.load(&wanted)? {
        let path = Path::new(MODULES).join(format!("{name}.ko"));
        archive.file(&path, 0o644, &object)?;
        request.modules.push(path);
    }
    archive.file(request::PATH, 0o644, &request.encode()?)?;
    archive.finish()
}

/// Copies a file, or a directory with all below it.
fn copy_in(archive: &mut Archive, host: &Path, inside: &Path) -> Result<()> {
    let at = || host.display().to_string();
    let kind = fs::metadata(host).with_context(at)?;
    if kind.is_dir() {
        archive.directory(inside)?;
        for entry in fs::read_dir(host).with_context(at)? {
            let entry = entry?;
            copy_in(archive, &entry.path(), &inside.join(entry.file_name()))?;
        }
        Ok(())
    } else {
        archive.file(inside, kind.permissions().mode(), &read(host)?)
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| path.display().to_string())
}

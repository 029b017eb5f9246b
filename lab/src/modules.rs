//! Kernel modules: where they lie, and which others each needs loaded before it.
//!
//! Debian's packages hold no `modules.dep` (installation makes it), so the order is taken from the modules
//! themselves: each names what it depends on in its `.modinfo` section.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The modules of one kernel, by name; names have underscores where files may have dashes.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    files: BTreeMap<String, PathBuf>,
    builtin: Vec<String>,
}

impl Modules {
    /// Lists the modules below `dir`, which is `/lib/modules/RELEASE` of an unpacked package.
    pub(crate) fn list(dir: &Path) -> Result<Self> {
        let mut modules = Self::default();
        let builtin = dir.join("modules.builtin");
        let builtin =
            fs::read_to_string(&builtin).with_context(|| builtin.display().to_string())?;
        modules.builtin = builtin.lines().filter_map(|l| name(Path::new(l))).collect();
        let mut to_visit = vec![dir.to_owned()];
        while let Some(dir) = to_visit.pop() {
            for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    to_visit.push(entry.path());
                } else if let Some(name) = name(&entry.path()) {
                    modules.files.insert(name, entry.path());
                }
            }
        }
        Ok(modules)
    }

    /// The objects of `wanted` and of all they need, unpacked, each after those that it needs.
    pub(crate) fn load(&self, wanted: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut loaded: Vec<(String, Vec<u8>)> = Vec::new();
        for name in wanted {
            self.load_one(&name.replace('-', "_"), &mut loaded)?;
        }
        Ok(loaded)
    }

    fn load_one(&self, name: &str, loaded: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
        let built_in = self.builtin.iter().any(|builtin| builtin == name);
        if built_in || loaded.iter().any(|(there, _)| there == name) {
            return Ok(());
        }
        let Some(file) = self.files.get(name) else {
            bail!("this kernel has no module {name}");
        };
        let object = unpack(file)?;
        for needed in depends(&object) {
            self.load_one(&needed, loaded)?;
        }
        loaded.push((name.to_owned(), object));
        Ok(())
    }
}

/// `virtio_pci` for `.../virtio-pci.ko.xz`; nothing for a file that is no module.
fn name(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    let (name, packing) = name.split_once(".ko")?;
    ["", ".xz"]
        .contains(&packing)
        .then(|| name.replace('-', "_"))
}

fn unpack(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_some_and(|e| e == "ko") {
        return fs::read(file).with_context(|| file.display().to_string());
    }
    let output = Command::new("xz")
        .arg("-dc")
        .arg(file)
        .output()
        .context("starting xz")?;
    if !output.status.success() {
        bail!("xz could not unpack {}: {}", file.display(), output.status);
    }
    Ok(output.stdout)
}

/// What the `depends=a,b` entry of `.modinfo` lists; its entries end with NUL, and it is never in code.
fn depends(object: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = object.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = object
        .iter()
        .skip(at.saturating_add(KEY.len()))
        .take_while(|b| **b != 0);
    let value: Vec<u8> = value.copied().collect();
    let names = value.split(|b| *b == b',').filter(|name| !name.is_empty());
    names
        .map(|name| String::from_utf8_lossy(name).replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_after_what_they_need_and_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("modules.builtin"), "kernel/lib/crc.ko\n").unwrap();
        fs::create_dir(dir.path().join("kernel")).unwrap();
        for (file, depends) in [
            ("virtio.ko", ""),
            ("virtio-ring.ko", "virtio"),
            ("disk.ko", "virtio_ring,crc,virtio"),
        ] {
            let object = format!("\x7fELF\0license=GPL\0depends={depends}\0name=x\0");
            fs::write(dir.path().join("kernel").join(file), object).unwrap();
        }
        let modules = Modules::list(dir.path()).unwrap();
        let order = |wanted: &[&str]| -> Vec<String> {
            modules
                .load(wanted)
                .unwrap()
                .into_iter()
                .map(|(name, _)| name)
                .collect()
        };
        assert_eq!(
            order(&["disk", "virtio-ring"]),
            ["virtio", "virtio_ring", "disk"]
        );
        assert_eq!(order(&["crc"]), [""; 0]);
        assert!(modules.load(&["no_such"]).is_err());
    }
}

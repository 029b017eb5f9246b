//! The emulator: one process, one guest, ended with it.
//!
//! The console goes to a file (or to the terminal, for a shell), the agent's port to a socket.

use crate::request::PORT_NAME;
use anyhow::{Context, Result, bail};
use plimsoll_units::Bytes;
use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = "qemu-system-x86_64";

/// For every guest: a console on the serial port, no boot chatter on it, the machine ended by a panic, and
/// pressure figures, which Debian's kernels have and leave off.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet panic=-1 psi=1";

/// How the guest's processors are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accelerator {
    Kvm,
    /// Software emulation: works everywhere, some ten times slower.
    Tcg,
}

/// What the machine is made of.
pub(crate) struct Machine<'a> {
    pub(crate) accelerator: Accelerator,
    pub(crate) kernel: &'a Path,
    pub(crate) initramfs: &'a [u8],
    pub(crate) kernel_arguments: &'a str,
    pub(crate) memory: Bytes,
    pub(crate) cpus: u32,
    /// Its memory is in so many equal parts, each a NUMA node.
    pub(crate) nodes: u32,
    /// The size of its one disk.
    pub(crate) disk: Option<Bytes>,
    /// Whether its clock counts instructions.
    pub(crate) steady: bool,
    /// Whether the console is this terminal.
    pub(crate) on_terminal: bool,
}

/// A running emulator; dropping it ends the guest.
pub(crate) struct Qemu {
    child: Child,
    scratch: tempfile::TempDir,
}

impl Qemu {
    /// Starts the machine, and gives the host's end of the agent's port.
    pub(crate) fn start(machine: &Machine<'_>) -> Result<(Self, UnixStream)> {
        let scratch = tempfile::tempdir()?;
        let in_scratch = |name: &str| scratch.path().join(name);
        let socket = in_scratch("port");
        let listener = UnixListener::bind(&socket)?;
        let initramfs = in_scratch("initramfs");
        fs::write(&initramfs, machine.initramfs)?;

        let mut command = Command::new(PROGRAM);
        command.args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
        ]);
        command.args(match machine.accelerator {
            Accelerator::Kvm => ["-machine", "pc,accel=kvm", "-cpu", "host"],
            // Five-level page tables would only make emulation slower, and so would `rep stosb` and `rep movsb`, which
            // a kernel prefers where they are called fast: they are emulated byte by byte. 7.2 gets the flags of
            // `cmpxchg16b` wrong, and a 6.12 kernel falls over them.
            Accelerator::Tcg => [
                "-machine",
                "pc,accel=tcg",
                "-cpu",
                "max,la57=off,cx16=off,erms=off,fsrm=off",
            ],
        });
        command.args(["-smp", &machine.cpus.to_string()]);
        if machine.steady && machine.accelerator == Accelerator::Tcg {
            command.args(["-icount", "shift=3"]);
        }
        // QEMU's own `k`: KiB.
        command.args(["-m", &format!("{}k", machine.memory.get() >> 10)]);
        for node in 0..machine.nodes {
            let kib = (machine.memory.get() >> 10).checked_div(machine.nodes.into());
            let part = format!(
                "memory-backend-ram,id=part{node},size={}k",
                kib.unwrap_or(0)
            );
            command.args(["-object", &part]);
            command.args(["-numa", &format!("node,nodeid={node},memdev=part{node}")]);
        }
        command
            .arg("-kernel")
            .arg(machine.kernel)
            .arg("-initrd")
            .arg(&initramfs);
        command.args([
            "-append",
            &format!("{KERNEL_ARGUMENTS} {}", machine.kernel_arguments),
        ]);
        command.args(["-device", "virtio-serial-pci", "-device"]);
        command.arg(format!("virtserialport,chardev=port,name={PORT_NAME}"));
        command.args([
            "-chardev",
            &format!("socket,id=port,path={}", socket.display()),
        ]);
        if let Some(size) = machine.disk {
            let disk = in_scratch("disk");
            fs::File::create(&disk)?.set_len(size.get())?;
            // `unsafe`: nothing of this disk is wanted after the run, so no write waits for the host's.
            let drive = format!("if=virtio,format=raw,cache=unsafe,file={}", disk.display());
            command.args(["-drive", &drive]);
        }
        if machine.on_terminal {
            command.args(["-serial", "mon:stdio"]);
        } else {
            let console = format!("file:{}", in_scratch("console").display());
            command
                .args(["-serial", &console])
                .stdin(Stdio::null())
                .stdout(Stdio::null());
        }
        command.stderr(fs::File::create(in_scratch("complaints"))?);
        let child = command.spawn().context("starting setpriv")?;
        let mut qemu = Self { child, scratch };
        let port = qemu.accept(&listener)?;
        Ok((qemu, port))
    }

    /// The emulator connects as soon as it runs, long before the guest does anything.
    fn accept(&mut self, listener: &UnixListener) -> Result<UnixStream> {
        listener.set_nonblocking(true)?;
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match listener.accept() {
                Ok((port, _)) => {
                    port.set_nonblocking(false)?;
                    return Ok(port);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{PROGRAM} (Debian's package qemu-system-x86) did not start: {status}{}",
                    self.last_words()
                );
            }
            if Instant::now() > deadline {
                bail!("{PROGRAM} did not connect its port");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The end of what the emulator and the console said, for a report of failure.
    pub(crate) fn last_words(&self) -> String {
        let end_of = |name: &str| -> Option<String> {
            let path: PathBuf = self.scratch.path().join(name);
            let text = String::from_utf8_lossy(&fs::read(path).ok()?).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            let end = lines.get(lines.len().saturating_sub(25)..)?;
            (!end.is_empty()).then(|| format!("\n--- {name}\n{}", end.join("\n")))
        };
        ["complaints", "console"]
            .into_iter()
            .filter_map(end_of)
            .collect()
    }

    /// All that was said on the console so far.
    pub(crate) fn console(&self) -> Result<Vec<u8>> {
        fs::read(self.scratch.path().join("console")).context("reading the console")
    }

    /// Waits for the end that the guest itself brings about, for as long as `patience`.
    pub(crate) fn wait(&mut self, patience: Duration) -> Result<bool> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(false)
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Not an error where it has ended already; `wait` takes its status either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

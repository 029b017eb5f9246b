//! One run: a guest is booted, a command runs in it, and what it left comes back.

use crate::frame::{Frame, Kind, Stream};
use crate::initramfs;
use crate::kernels::{Kernel, KernelFiles, cache_dir};
use crate::qemu::{Accelerator, Machine, Qemu};
use anyhow::{Context, Result, bail};
use plimsoll_units::Bytes;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A guest to be: what it is made of, and what goes in and out.
#[derive(Debug, Clone)]
pub struct Guest {
    /// What it boots.
    pub kernel: Kernel,
    /// Its memory; the file system lies in there too.
    pub memory: Bytes,
    /// Its processors.
    pub cpus: u32,
    /// Its memory is in so many NUMA nodes of equal size.
    pub nodes: u32,
    /// The size of a swap disk, if it is to have one.
    pub swap: Option<Bytes>,
    /// More modules to load, beside those for the serial port and disks.
    pub modules: Vec<String>,
    /// Programs of this workspace to build statically into `/bin`: package and program.
    pub programs: Vec<(String, String)>,
    /// Files and directories to copy: path here, path there.
    pub copy_in: Vec<(PathBuf, PathBuf)>,
    /// Files and directories there to send back.
    pub copy_out: Vec<PathBuf>,
    /// More for the kernel's command line.
    pub kernel_arguments: String,
    /// Where its processor is emulated: its clock counts instructions while it works, 8 ns for each, so that what else this machine does
    /// meanwhile shows in no time that is measured inside. Disks and sleeps take their time as ever.
    pub steady: bool,
    /// How long the run may take, from power-on to the last byte.
    pub deadline: Duration,
}

/// What a run left.
#[derive(Debug)]
pub struct Outcome {
    /// The command's exit code, or 128 and the number of the signal that ended it.
    pub status: i32,
    /// The files that were sent back, by their path in the guest.
    pub files: Vec<(PathBuf, Vec<u8>)>,
    /// What was asked for and could not be sent, and why.
    pub missing: Vec<String>,
    /// The release of the kernel that ran.
    pub release: String,
}

/// How long KVM gets to bring up the agent, once for each kernel, before the lab does without.
const KVM_TRIAL: Duration = Duration::from_secs(20);

impl Guest {
    /// A guest of 512 MiB and one processor.
    #[must_use]
    pub fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            memory: Bytes::from_mib(512),
            cpus: 1,
            nodes: 1,
            swap: None,
            modules: Vec::new(),
            programs: Vec::new(),
            copy_in: Vec::new(),
            copy_out: Vec::new(),
            kernel_arguments: String::new(),
            steady: false,
            deadline: Duration::from_secs(300),
        }
    }

    /// Boots, runs `command`, hands its output over as it comes, and gives back what it left.
    ///
    /// # Errors
    /// Where the guest could not be made, did not boot, or did not end before the deadline. A command that
    /// fails is no error: see [`Outcome::status`].
    pub fn run(
        &self,
        command: &[impl AsRef<OsStr>],
        mut output: impl FnMut(Stream, &[u8]) -> io::Result<()>,
    ) -> Result<Outcome> {
        let command: Vec<OsString> = command.iter().map(|a| a.as_ref().to_owned()).collect();
        let files = self.kernel.files()?;
        let initramfs = initramfs::pack(self, &files.modules, &command, false)?;
        let accelerator = self.accelerator(&files)?;
        let (mut qemu, port) = Qemu::start(&self.machine(accelerator, &files, &initramfs, false))?;
        let outcome = converse(&port, self.deadline, &mut output);
        let outcome = outcome.with_context(|| {
            format!(
                "a guest with kernel {}{}",
                self.kernel.name,
                qemu.last_words()
            )
        })?;
        qemu.wait(Duration::from_secs(2))?;
        Ok(outcome)
    }

    /// Boots, runs `command`, which is expected to bring the kernel down, and gives back what the console said until
    /// then.
    ///
    /// # Errors
    /// Where the guest could not be made or did not end before the deadline, and where the command ended and the kernel
    /// was still there.
    pub fn run_to_panic(&self, command: &[impl AsRef<OsStr>]) -> Result<Vec<u8>> {
        let command: Vec<OsString> = command.iter().map(|a| a.as_ref().to_owned()).collect();
        let files = self.kernel.files()?;
        let initramfs = initramfs::pack(self, &files.modules, &command, false)?;
        let accelerator = self.accelerator(&files)?;
        let (mut qemu, port) = Qemu::start(&self.machine(accelerator, &files, &initramfs, false))?;
        if let Ok(outcome) = converse(&port, self.deadline, &mut |_, _| Ok(())) {
            bail!(
                "the kernel lived on, and the command ended with {}",
                outcome.status
            );
        }
        if !qemu.wait(Duration::from_secs(2))? {
            bail!("the guest is still running{}", qemu.last_words());
        }
        qemu.console()
    }

    /// Boots into a shell on this terminal. Its exit ends the guest; so does Ctrl-a x.
    ///
    /// # Errors
    /// Where the guest could not be made.
    pub fn shell(&self) -> Result<()> {
        let files = self.kernel.files()?;
        let shell = ["setsid", "cttyhack", "sh", "-l"].map(OsString::from);
        let initramfs = initramfs::pack(self, &files.modules, &shell, true)?;
        let accelerator = self.accelerator(&files)?;
        let (mut qemu, _port) = Qemu::start(&self.machine(accelerator, &files, &initramfs, true))?;
        while !qemu.wait(Duration::from_secs(3600))? {}
        Ok(())
    }

    fn machine<'a>(
        &'a self,
        accelerator: Accelerator,
        files: &'a KernelFiles,
        initramfs: &'a [u8],
        on_terminal: bool,
    ) -> Machine<'a> {
        Machine {
            accelerator,
            kernel: &files.image,
            initramfs,
            kernel_arguments: &self.kernel_arguments,
            memory: self.memory,
            cpus: self.cpus,
            nodes: self.nodes,
            disk: self.swap,
            steady: self.steady,
            on_terminal,
        }
    }

    /// KVM where it brings up this very kernel; that `/dev/kvm` opens says too little.
    fn accelerator(&self, files: &KernelFiles) -> Result<Accelerator> {
        if fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_err()
        {
            return Ok(Accelerator::Tcg);
        }
        let verdict = cache_dir()?.join(format!("kvm-{}", self.kernel.name));
        if let Ok(known) = fs::read_to_string(&verdict) {
            return Ok(if known.trim() == "yes" {
                Accelerator::Kvm
            } else {
                Accelerator::Tcg
            });
        }
        let trial = Self::new(self.kernel);
        let initramfs = initramfs::pack(&trial, &files.modules, &["true".into()], false)?;
        let boots = Qemu::start(&trial.machine(Accelerator::Kvm, files, &initramfs, false))
            .and_then(|(_qemu, port)| converse(&port, KVM_TRIAL, &mut |_, _| Ok(())))
            .is_ok();
        fs::write(&verdict, if boots { "yes\n" } else { "no\n" })?;
        Ok(if boots {
            Accelerator::Kvm
        } else {
            Accelerator::Tcg
        })
    }
}

/// Listens to the agent until it says how the command ended.
fn converse(
    port: &UnixStream,
    patience: Duration,
    output: &mut impl FnMut(Stream, &[u8]) -> io::Result<()>,
) -> Result<Outcome> {
    let deadline = Instant::now() + patience;
    let mut port = UntilDeadline { port, deadline };
    let mut outcome = Outcome {
        status: 0,
        files: Vec::new(),
        missing: Vec::new(),
        release: String::new(),
    };
    loop {
        let frame = Frame::receive(&mut port).context("listening to the agent")?;
        let Some(Frame { kind, payload }) = frame else {
            bail!("the guest ended before the command did");
        };
        let text = || String::from_utf8_lossy(&payload).into_owned();
        match kind {
            Kind::Hello => outcome.release = text(),
            Kind::Stdout => output(Stream::Stdout, &payload)?,
            Kind::Stderr => output(Stream::Stderr, &payload)?,
            Kind::File => {
                outcome
                    .files
                    .push((OsString::from_vec(payload).into(), Vec::new()));
            }
            Kind::Contents => {
                let file = outcome.files.last_mut().context("contents of no file")?;
                file.1.extend_from_slice(&payload);
            }
            Kind::Missing => outcome.missing.push(text()),
            Kind::Exit => {
                let status = <[u8; 4]>::try_from(payload.as_slice());
                outcome.status = i32::from_le_bytes(status.context("an exit status of 4 bytes")?);
                return Ok(outcome);
            }
            Kind::Fault => bail!("the agent: {}", text()),
            other => bail!("the agent sent {other:?}"),
        }
    }
}

/// A port whose every read ends when the time of the whole run is up.
struct UntilDeadline<'a> {
    port: &'a UnixStream,
    deadline: Instant,
}

impl io::Read for UntilDeadline<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the time for the run is up");
        if left.is_zero() {
            return Err(late());
        }
        self.port.set_read_timeout(Some(left))?;
        let mut port = self.port;
        match io::Read::read(&mut port, buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(late()),
            outcome => outcome,
        }
    }
}

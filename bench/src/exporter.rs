//! A node_exporter of the bench's own on the loopback, and what one scrape costs it.

use anyhow::{Context, Result, bail};
use plimsoll_proc::text;
use plimsoll_units::Bytes;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The collectors that tell about memory and processes; the others are off.
const COLLECTORS: [&str; 8] = [
    "buddyinfo",
    "meminfo",
    "meminfo_numa",
    "pressure",
    "processes",
    "slabinfo",
    "vmstat",
    "zoneinfo",
];

/// A running exporter; killed and reaped when dropped.
pub struct Exporter {
    process: Child,
    port: u16,
}

impl Exporter {
    /// Starts `program` on a free port and waits until it answers.
    pub fn start(program: &str) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let mut command = Command::new(program);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.arg("--collector.disable-defaults");
        command.args(COLLECTORS.map(|name| format!("--collector.{name}")));
        command.stderr(Stdio::null()).stdout(Stdio::null());
        let process = command
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        let exporter = Self { process, port };
        for _ in 0..100 {
            if exporter.scrape().is_ok() {
                return Ok(exporter);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("{program} does not answer on port {port}")
    }

    /// CPU time that one scrape takes of the exporter.
    pub fn scrape_cpu(&self) -> Result<Duration> {
        let before = self.cpu()?;
        self.scrape()?;
        Ok(self.cpu()?.saturating_sub(before))
    }

    /// The most memory it had resident so far (`VmHWM`).
    pub fn peak_rss(&self) -> Result<Bytes> {
        let status = fs::read(format!("/proc/{}/status", self.process.id()))?;
        let peak = text::lines(&status)
            .find_map(|line| line.strip_prefix(b"VmHWM:"))
            .and_then(|value| text::number(text::words(value).next()?));
        Ok(Bytes::from_kib(peak.context("no VmHWM")?))
    }

    fn scrape(&self) -> Result<()> {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        connection.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer)?;
        if !answer.starts_with(b"HTTP/1.0 200") {
            bail!("the scrape was refused");
        }
        Ok(())
    }

    /// Nanoseconds on a CPU, over all threads (`/proc/PID/task/TID/schedstat`, first field).
    fn cpu(&self) -> Result<Duration> {
        let mut sum = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let schedstat = fs::read(thread?.path().join("schedstat"))?;
            sum += text::words(&schedstat)
                .next()
                .and_then(text::number)
                .unwrap_or(0);
        }
        Ok(Duration::from_nanos(sum))
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.process.kill(); // gone already is as well
        let _ = self.process.wait();
    }
}

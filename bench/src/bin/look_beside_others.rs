//! What a look costs with 500 processes, beside the tools that people use today, in one run and in turns.
//!
//! `smem` and `ps_mem` read every process's `smaps`; a scrape of node_exporter with its memory collectors
//! reads about the host files that a look reads, but no process's. Other programs than those on `PATH` may be named by
//! `SMEM`, `PS_MEM` and `NODE_EXPORTER`; one that isn't there is left out, and that is said.

use anyhow::{Context, Result, ensure};
use plimsoll_bench::exporter::Exporter;
use plimsoll_bench::fleet::Fleet;
use plimsoll_bench::timing::{Spread, print_machine};
use plimsoll_sys::usage::{self, Usage};
use plimsoll_units::Bytes;
use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Duration;

const PROCESSES: usize = 500;
const ROUNDS: usize = 11;

/// A tool, and what each of its runs cost.
struct Tool {
    name: &'static str,
    program: OsString,
    arguments: &'static [&'static str],
    cpu: Vec<Duration>,
    peak_rss: Bytes,
}

impl Tool {
    fn new(name: &'static str, program: OsString, arguments: &'static [&'static str]) -> Self {
        Self {
            name,
            program,
            arguments,
            cpu: Vec::new(),
            peak_rss: Bytes::ZERO,
        }
    }

    fn run(&mut self) -> Result<()> {
        let usage = run(&self.program, self.arguments)?;
        ensure!(usage.succeeded, "{} failed", self.name);
        self.cpu.push(usage.cpu);
        self.peak_rss = self.peak_rss.max(usage.peak_rss);
        Ok(())
    }
}

fn main() -> Result<()> {
    print_machine();
    let plimsoll = std::env::current_exe()?.with_file_name("plimsoll");
    let mut ours = Tool::new(
        "plimsoll look",
        plimsoll.clone().into(),
        &["look", "--json"],
    );
    let with_pss = &["look", "processes", "--pss", "--json"];
    let mut others = vec![Tool::new(
        "plimsoll look processes --pss",
        plimsoll.into(),
        with_pss,
    )];
    others.extend(installed("smem", "SMEM", &["-t"]));
    others.extend(installed("ps_mem", "PS_MEM", &[]));

    let fleet = Fleet::start(PROCESSES)?;
    let exporter = program("NODE_EXPORTER", "prometheus-node-exporter");
    let exporter = Exporter::start(&exporter.to_string_lossy())
        .map_err(|error| println!("left out: {error:#}"));
    let mut scrapes = Vec::new();
    for _ in 0..ROUNDS {
        ours.run()?;
        for other in &mut others {
            other.run()?;
        }
        if let Ok(exporter) = &exporter {
            scrapes.push(exporter.scrape_cpu()?);
        }
    }
    println!(
        "{PROCESSES} processes more than the host had, every other one Python; CPU time of {ROUNDS} runs in turns"
    );
    let own = print(ours, None)?;
    for other in others {
        print(other, Some(own))?;
    }
    if let Ok(exporter) = &exporter {
        let mut scraped = Tool::new("node_exporter, one scrape", OsString::new(), &[]);
        scraped.cpu = scrapes;
        scraped.peak_rss = exporter.peak_rss()?;
        print(scraped, Some(own))?;
    }
    println!("asked of plimsoll look: at most 80 ms of CPU and 12 MiB");
    drop(fleet);
    Ok(())
}

/// Prints a tool's row, beside ours; gives its median and its peak.
fn print(tool: Tool, ours: Option<(Duration, Bytes)>) -> Result<(Duration, Bytes)> {
    let cpu = Spread::of(tool.cpu).context("nothing was measured")?;
    let median = cpu.percentile(50);
    println!("{}: {cpu}, peak {}", tool.name, tool.peak_rss);
    if let Some((cpu, rss)) = ours {
        println!(
            "  {:.2} times our CPU, {:.2} times our memory",
            median.as_secs_f64() / cpu.as_secs_f64(),
            tool.peak_rss.get() as f64 / rss.get() as f64
        );
    }
    Ok((median, tool.peak_rss))
}

fn program(variable: &str, name: &str) -> OsString {
    std::env::var_os(variable).unwrap_or_else(|| name.into())
}

/// A tool of others, if it runs here.
fn installed(
    name: &'static str,
    variable: &str,
    arguments: &'static [&'static str],
) -> Option<Tool> {
    let program = program(variable, name);
    match run(&program, arguments) {
        Ok(usage) if usage.succeeded => Some(Tool::new(name, program, arguments)),
        _ => {
            println!("left out: {name} does not run here");
            None
        }
    }
}

fn run(program: &OsString, arguments: &[&str]) -> Result<Usage> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = command
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    Ok(usage::wait(child.id())?)
}

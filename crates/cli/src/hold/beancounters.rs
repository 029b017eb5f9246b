//! `plimsoll hold --from-beancounters`: what containers were allowed, each parameter accounted for, and what that comes to.

use super::args::{Hold, WriteFor};
use crate::failure::{Failure, Kind};
use crate::park::json_line;
use crate::table::{Align, Cell, Table};
use crate::terminal::{self, Terminal};
use plimsoll_hold::beancounters::check::{Sold, Warning, check};
use plimsoll_hold::beancounters::convert::{Conversion, Row};
use plimsoll_hold::beancounters::parameters::Support;
use plimsoll_hold::beancounters::{convert, read, write};
use plimsoll_hold::host::Host;
use plimsoll_hold::{Asked, Numbers};
use plimsoll_proc::{Root, page_size};
use plimsoll_units::{Bytes, PageSize};
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    page_size_bytes: u64,
    containers: Vec<Told>,
    sold: Sold,
    oversold: Vec<String>,
}

#[derive(Serialize)]
struct Told {
    file: String,
    #[serde(flatten)]
    conversion: Conversion,
    warnings: Vec<Warning>,
}

/// Says it. What is given back is to be held; `None` where nothing is.
pub(super) fn tell(args: &Hold) -> Result<Option<Asked>, Failure> {
    let root = Root::live();
    let page = match args.page_size {
        Some(size) => PageSize::new(size.get())
            .ok_or_else(|| Failure::message(Kind::Usage, format!("{size} is no size of a page")))?,
        None => page_size::read(&root)?,
    };
    let mut containers = Vec::new();
    for file in &args.from_beancounters {
        containers.extend(told(file, page, args)?);
    }
    let host = Host::read(&root)?;
    let there = Numbers {
        ram: host.ram,
        swap: host.swap(),
    };
    let conversions: Vec<Conversion> = containers
        .iter()
        .map(|one| one.conversion.clone())
        .collect();
    let sold = Sold::of(&conversions, there);
    let document = Document {
        schema: "plimsoll.beancounters/1",
        page_size_bytes: page.get(),
        containers,
        sold,
        oversold: sold.oversold(),
    };
    match args.write {
        Some(to) => written(&document, to)?,
        None if args.json && args.what.is_none() => terminal::print(&json_line(&document)?)?,
        None if args.json => {} // one document, that of the hold
        None => terminal::print(&view(&document, &Terminal::of_stdout()))?,
    }
    if args.what.is_none() {
        return Ok(None);
    }
    match document.containers.as_slice() {
        [one] => asked(&one.conversion).map(Some),
        many => Err(Failure::message(
            Kind::Usage,
            format!("{} containers for one hold", many.len()),
        )),
    }
}

fn told(file: &Path, page: PageSize, args: &Hold) -> Result<Vec<Told>, Failure> {
    let failed = |error: std::io::Error| {
        let message = format!("cannot read {}: {error}", file.display());
        Failure::message(Kind::Failed, message)
    };
    let text = std::fs::read(file).map_err(failed)?;
    let containers = read(&text, page);
    Ok(containers
        .iter()
        .map(|container| {
            let mut conversion = convert(container);
            let chosen = conversion.numbers;
            conversion.numbers =
                args.ram
                    .or(chosen.map(|numbers| numbers.ram))
                    .map(|ram| Numbers {
                        ram,
                        swap: args
                            .swap
                            .or(chosen.map(|numbers| numbers.swap))
                            .unwrap_or_default(),
                    });
            Told {
                file: file.display().to_string(),
                warnings: check(container, &conversion),
                conversion,
            }
        })
        .collect())
}

fn asked(conversion: &Conversion) -> Result<Asked, Failure> {
    let numbers = conversion.numbers.ok_or_else(|| {
        Failure::message(Kind::Failed, "nothing limits its memory").hint("give --ram and --swap")
    })?;
    Ok(Asked {
        numbers,
        low: conversion.low_bytes,
        pids_max: conversion.pids_max,
    })
}

/// The configuration on standard output, and what is wrong with the values on standard error.
fn written(document: &Document, to: WriteFor) -> Result<(), Failure> {
    for one in &document.containers {
        for warning in &one.warnings {
            eprintln!("plimsoll: {}: {warning}", one.file);
        }
        let text = match to {
            WriteFor::Systemd => write::systemd(&one.conversion),
            WriteFor::Lxc => write::lxc(&one.conversion),
        };
        match text {
            Some(text) => terminal::print(&text)?,
            None => return asked(&one.conversion).map(drop),
        }
    }
    for line in &document.oversold {
        eprintln!("plimsoll: {line}");
    }
    Ok(())
}

fn view(document: &Document, terminal: &Terminal) -> String {
    let mut text = String::new();
    for one in &document.containers {
        text += &container(one, terminal);
        text.push('\n');
    }
    for line in &document.oversold {
        text += &format!("{line}\n");
    }
    text
}

fn container(told: &Told, terminal: &Terminal) -> String {
    let conversion = &told.conversion;
    let id = conversion
        .id
        .map_or_else(String::new, |id| format!(", container {id}"));
    let mut text = format!("{}{id}\n", told.file);
    let mut table = Table::new(&[
        ("PARAMETER", Align::Left),
        ("BARRIER", Align::Right),
        ("LIMIT", Align::Right),
        ("TODAY", Align::Left),
        ("BECOMES", Align::Left),
        ("WHY", Align::Left),
    ]);
    for row in &conversion.parameters {
        table.row(cells(row));
    }
    text += &table.render(terminal, 4);
    for other in &conversion.others {
        if let Some(today) = other.today {
            text += &format!(
                "{}=\"{}\" is no beancounter: {today}\n",
                other.name, other.value
            );
        }
    }
    for warning in &told.warnings {
        text += &format!("warning: {warning}\n");
    }
    match conversion.numbers {
        Some(Numbers { ram, swap }) => {
            text + &format!(
                "It comes to: --ram {} --swap {} ({ram} and {swap})\n",
                ram.get(),
                swap.get()
            )
        }
        None => text,
    }
}

fn cells(row: &Row) -> [Cell; 6] {
    let amount = |amount: Option<u64>| match amount {
        _ if !row.given => "-".to_owned(),
        Some(amount) => amount.to_string(),
        None => "unlimited".to_owned(),
    };
    let today = match row.support {
        Support::Equivalent => "the same",
        Support::Partial => "in part",
        Support::None => "nothing",
    };
    let becomes = row.chosen.map_or_else(String::new, |chosen| {
        let is_items = matches!(chosen.setting, "pids.max" | "ptys");
        match is_items {
            true => format!("{} {}", chosen.setting, chosen.value),
            false => format!("{} {}", chosen.setting, Bytes(chosen.value)),
        }
    });
    [
        row.parameter.described().name.into(),
        amount(row.barrier).into(),
        amount(row.limit).into(),
        today.into(),
        becomes.into(),
        row.why.into(),
    ]
}

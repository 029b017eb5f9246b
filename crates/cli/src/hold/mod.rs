//! `plimsoll hold`, `release`, and what the four verbs about holds share.

pub(crate) mod args;
mod beancounters;
mod enter;
mod holds;
mod run;
mod words;

pub(crate) use enter::enter;
pub(crate) use holds::holds;
pub(crate) use run::run;

use crate::failure::{Failure, Kind};
use crate::park::json_line;
use crate::terminal;
use plimsoll_hold::holding::{self, Held, Target};
use plimsoll_hold::plan::Remark;
use plimsoll_hold::record::Records;
use plimsoll_hold::{HoldError, Numbers};
use plimsoll_proc::Root;
use serde::Serialize;

/// Holds something that runs, or says what a container's beancounters come to.
pub(crate) fn hold(args: &args::Hold) -> Result<(), Failure> {
    let asked = if args.from_beancounters.is_empty() {
        let numbers = Numbers {
            ram: args.ram.unwrap_or_default(),
            swap: args.swap.unwrap_or_default(),
        };
        numbers.into()
    } else {
        match beancounters::tell(args)? {
            Some(asked) => asked,
            None => return Ok(()), // nothing is to be held
        }
    };
    let what = args.what.as_deref().unwrap_or_default();
    let name = args.name.clone().unwrap_or_else(|| name_of(what));
    let records = Records::of_this_user()?;
    let root = Root::live();
    holding::living(&root, &records)?;
    let held = holding::hold(&root, &records, &name, &target(what), &asked)?;
    terminal::print(&told(&held, args.json)?)?;
    Ok(())
}

/// Ends a hold.
pub(crate) fn release(args: &args::Release) -> Result<(), Failure> {
    let records = Records::of_this_user()?;
    let Some(record) = records.find(&args.name)? else {
        return Err(HoldError::NoSuchHold {
            name: args.name.clone(),
        }
        .into());
    };
    holding::release(&records, &record)?;
    terminal::print(&format!("{} is held no more\n", record.name))?;
    Ok(())
}

fn target(what: &str) -> Target {
    if let Ok(pid) = what.parse() {
        Target::Tree(pid)
    } else if what.starts_with('/') {
        Target::Group(what.into())
    } else {
        Target::Unit(what.to_owned())
    }
}

/// A name made of whatever: what can't be in one becomes `_`.
fn name_of(what: &str) -> String {
    let last = what.rsplit('/').next().unwrap_or(what);
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name = last.chars().map(|c| if allowed(c) { c } else { '_' });
    let name: String = name.take(48).collect();
    match name.trim_start_matches(['.', '-']) {
        "" => "hold".to_owned(),
        name => name.to_owned(),
    }
}

#[derive(Serialize)]
struct Told<'a> {
    schema: &'static str,
    name: &'a str,
    group: String,
    version: u8,
    unit: Option<&'a str>,
    own: bool,
    #[serde(flatten)]
    numbers: Numbers,
    remarks: &'a [Remark],
}

fn told(held: &Held, json: bool) -> Result<String, Failure> {
    let record = &held.record;
    if json {
        return json_line(&Told {
            schema: "plimsoll.hold/1",
            name: &record.name,
            group: record.group.display().to_string(),
            version: record.version,
            unit: record.unit.as_deref(),
            own: record.own.is_some(),
            numbers: record.numbers,
            remarks: &held.remarks,
        });
    }
    let Numbers { ram, swap } = record.numbers;
    let mut text = format!(
        "{} is held to {ram} of RAM and {swap} of swap\n",
        record.name
    );
    for remark in &held.remarks {
        text += &format!("  {}\n", words::of(remark));
    }
    text += &format!(
        "How it fares: plimsoll holds {0}; end it: plimsoll release {0}\n",
        record.name
    );
    Ok(text)
}

impl From<HoldError> for Failure {
    fn from(error: HoldError) -> Self {
        let kind = match error.kind() {
            plimsoll_hold::Kind::Failed => Kind::Failed,
            plimsoll_hold::Kind::NotPermitted => Kind::NotPermitted,
            plimsoll_hold::Kind::Refused => Kind::Refused,
        };
        let hint = error.hint();
        let failure = Self::new(kind, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_told_by_its_form() {
        for (what, expected) in [
            ("4711", Target::Tree(4711)),
            ("/a/b", Target::Group("/a/b".into())),
            ("nginx.service", Target::Unit("nginx.service".into())),
        ] {
            assert_eq!(target(what), expected);
        }
    }

    #[test]
    fn names_are_made_of_anything() {
        for (what, name) in [
            ("/machine/web", "web"),
            ("nginx@1.service", "nginx_1.service"),
            ("/", "hold"),
            ("..", "hold"),
            ("4711", "4711"),
        ] {
            assert_eq!(name_of(what), name);
            assert!(plimsoll_hold::record::is_name(name));
        }
    }
}

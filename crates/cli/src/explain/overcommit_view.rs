//! The states under strict overcommit for people.

use super::paragraphs::{heading, item, line};
use crate::table::cut;
use crate::terminal::Terminal;
use plimsoll_explain::overcommit::{Advice, Overcommit, Place, Refused, Want};
use plimsoll_ledger::look::Policy;
use plimsoll_units::Bytes;

/// So many programs, and owners of RAM, are named.
const NAMED: usize = 10;

/// All of it.
pub(super) fn view(overcommit: &Overcommit, terminal: &Terminal) -> String {
    let mut text = line(&verdict(overcommit), 0, terminal);
    heading(&mut text, "The states", terminal);
    let promised = format!("can be promised (CommitLimit, by {})", overcommit.setting);
    for (bytes, words) in [
        (overcommit.promised_bytes, promised.as_str()),
        (overcommit.deliverable_bytes, "can be delivered"),
        (overcommit.committed_bytes, "is promised now (Committed_AS)"),
        (overcommit.used_bytes, "of that is in use"),
    ] {
        amount(&mut text, bytes, words, terminal);
    }
    heading(
        &mut text,
        "One more program, while the others stay as they are",
        terminal,
    );
    let one = overcommit.one_more;
    if one.refused_from_bytes > one.fits_bytes {
        amount(&mut text, one.fits_bytes, "it can have and use", terminal);
        amount(
            &mut text,
            one.refused_from_bytes,
            "it can ask for; above the line before, the OOM killer fires when it uses it",
            terminal,
        );
        text.push_str(&line("and anything more is refused (ENOMEM)", 2, terminal));
    } else {
        amount(
            &mut text,
            one.refused_from_bytes,
            "it can have and use; anything more is refused (ENOMEM)",
            terminal,
        );
    }
    heading(&mut text, "RAM that can't be delivered", terminal);
    for part in overcommit.kept.iter().take(NAMED) {
        amount(&mut text, part.bytes, &part.name, terminal);
    }
    refused(&mut text, overcommit, terminal);
    if let Some(advice) = &overcommit.advice {
        let title = if overcommit.band_bytes > 0 {
            "The setting that closes the band"
        } else {
            "Strict overcommit that promises what can be delivered"
        };
        heading(&mut text, title, terminal);
        text.push_str(&advised(advice, terminal));
    }
    text
}

fn verdict(overcommit: &Overcommit) -> String {
    let policy = match overcommit.policy {
        Policy::Strict => "Overcommit is strict (2)",
        Policy::Heuristic => {
            "Overcommit is heuristic (0): what follows would be under strict overcommit"
        }
        Policy::Always => {
            "Overcommit is always granted (1): what follows would be under strict overcommit"
        }
    };
    let band = Bytes(overcommit.band_bytes.unsigned_abs());
    let gap = if overcommit.band_bytes > 0 {
        format!(
            "{band} more can be promised than delivered: there the OOM killer fires all the same."
        )
    } else {
        format!("All that can be promised can be delivered, and {band} more.")
    };
    let place = match overcommit.state {
        Place::Kept => "All that is promised now can be delivered.",
        Place::Band => "More is promised now than can be delivered.",
        Place::Refusing => {
            "As much is promised now as can be, or more: further requests are refused."
        }
    };
    format!("{policy}. {gap} {place}")
}

fn refused(text: &mut String, overcommit: &Overcommit, terminal: &Terminal) {
    heading(
        text,
        "What strict overcommit would refuse to programs that run now",
        terminal,
    );
    match &overcommit.refused {
        None => text.push_str(&line("not known: the mappings were not read", 2, terminal)),
        Some(refused) if refused.is_empty() => text.push_str(&line("nothing", 2, terminal)),
        Some(refused) => {
            for one in refused.iter().take(NAMED) {
                text.push_str(&item(&who(one), terminal));
            }
            if refused.len() > NAMED {
                text.push_str(&line(
                    &format!("and {} more", refused.len() - NAMED),
                    2,
                    terminal,
                ));
            }
        }
    }
}

fn who(one: &Refused) -> String {
    let Refused {
        pid,
        command,
        wants_bytes,
        shapes,
        ..
    } = one;
    let what = match one.want {
        Want::Reservation => format!("mappings made without reserve, {wants_bytes}"),
        Want::Fork => format!("a fork of itself, {wants_bytes}"),
    };
    let shape = shapes
        .first()
        .map(|shape| format!(" ({shape})"))
        .unwrap_or_default();
    format!("{command} (pid {pid}): {what}{shape}")
}

fn advised(advice: &Advice, terminal: &Terminal) -> String {
    let mut text = line(&advice.command, 4, terminal);
    text.push_str(&line(&format!("undone by: {}", advice.undo), 4, terminal));
    let price = match advice.price_bytes {
        Bytes::ZERO => format!("It promises up to {}.", advice.limit_bytes),
        price => format!(
            "Its price: {price} less can be promised, used or not; {} in all.",
            advice.limit_bytes
        ),
    };
    text.push_str(&line(&price, 2, terminal));
    if advice.over_by_bytes > Bytes::ZERO {
        let over = format!(
            "{} more than that is promised already: set now, every further request is refused until so much is given back.",
            advice.over_by_bytes
        );
        text.push_str(&line(&over, 2, terminal));
    }
    text
}

fn amount(text: &mut String, bytes: Bytes, words: &str, terminal: &Terminal) {
    let row = format!("{:>12}  {words}", bytes.to_string());
    text.push_str(&cut(
        &row,
        terminal.columns.unwrap_or(usize::MAX),
        terminal.ellipsis(),
    ));
    text.push('\n');
}

//! The host's account for people: a bar of all RAM, and a table of owners, biggest first.

use crate::bar::{self, Key};
use crate::table::{Align, Cell, Table, paragraph};
use crate::terminal::{Colour, Terminal};
use plimsoll_ledger::host::words_of;
use plimsoll_ledger::look::{Exactness, Host, Owner};
use plimsoll_units::Bytes;

/// Parts of an owner are shown when they hold at least this share of RAM; with `--explain` always.
const DETAIL_SHARE: u64 = 100;

/// So many parts of an owner are shown at most.
const DETAILS: usize = 5;

/// The account; what no owner claims is printed however small the screen.
pub(super) fn view(host: &Host, explain: bool, terminal: &Terminal) -> String {
    let total = host.total_bytes;
    let mut text = paragraph(&summary(host), terminal);
    let keys = keys(&host.owners, total, terminal);
    text.push_str(&draw(host, &keys, terminal));
    text.push('\n');

    let mut table = Table::new(&[
        ("", Align::Left),
        ("SIZE", Align::Right),
        ("SHARE", Align::Right),
        ("", Align::Left),
        ("OWNER", Align::Left),
    ]);
    for (owner, key) in host.owners.iter().zip(&keys) {
        if owner.bytes == Bytes::ZERO {
            continue;
        }
        table.row([
            key.cell(terminal),
            marked(owner.bytes, owner.exactness).into(),
            share(owner.bytes, total).into(),
            if owner.reclaimable { "r" } else { "" }.into(),
            owner.name.as_str().into(),
        ]);
        if explain && let Some(words) = words_of(&owner.id) {
            table.note(words);
        }
        let worth = Bytes(total.get() / DETAIL_SHARE);
        let details = owner
            .detail
            .iter()
            .filter(|part| explain || part.bytes >= worth);
        for part in details.take(DETAILS) {
            table.note(format!("{} {}", part.bytes, part.name));
        }
    }
    let magnitude = Bytes(host.unattributed_bytes.unsigned_abs());
    let sign = if host.unattributed_bytes < 0 { "-" } else { "" };
    table.foot([
        "".into(),
        Cell::coloured(format!("{sign}{magnitude}"), Colour::Strong),
        format!("{sign}{}", share(magnitude, total)).into(),
        "".into(),
        Cell::coloured(unattributed(host.unattributed_bytes), Colour::Strong),
    ]);
    text.push_str(&table.render(terminal, LINES_AROUND));
    text.push_str(&terminal.paint(Colour::Faint, paragraph(LEGEND, terminal).trim_end()));
    text.push('\n');
    text
}

/// Summary and bar above the table, the legend below, and the line on which the prompt comes to stand.
const LINES_AROUND: usize = 4;

const LEGEND: &str = "~ inferred   ? holder unknown   r the kernel can take it back";

/// What the rest is called.
fn unattributed(bytes: i64) -> &'static str {
    if bytes < 0 {
        "unattributed: the files read disagree, the host was busy"
    } else {
        "unattributed: nothing names its owner"
    }
}

fn summary(host: &Host) -> String {
    let sum = |wanted: &dyn Fn(&&Owner) -> bool| -> Bytes {
        host.owners
            .iter()
            .filter(wanted)
            .map(|owner| owner.bytes)
            .sum()
    };
    format!(
        "{} of RAM: {} free, {} that the kernel can take back when it needs to\n",
        host.total_bytes,
        sum(&is_free),
        sum(&|owner| owner.reclaimable && !is_free(owner)),
    )
}

/// Whether nobody uses it.
fn is_free(owner: &&Owner) -> bool {
    ["free", "pcp"].contains(&owner.id.as_str())
}

/// A key for each owner: the biggest that can be seen in the bar get one of their own.
fn keys(owners: &[Owner], total: Bytes, terminal: &Terminal) -> Vec<Key> {
    let cell = total.get() / u64::try_from(terminal.bar_columns()).unwrap_or(1).max(1);
    let mut own = bar::KEYS.into_iter();
    let key = |owner: &Owner| {
        if is_free(&owner) {
            bar::FREE
        } else if owner.bytes.get() < cell {
            bar::OTHERS
        } else {
            own.next().unwrap_or(bar::OTHERS)
        }
    };
    owners.iter().map(key).collect()
}

/// Owners in their order, then what is free: so the bar fills from the left.
fn draw(host: &Host, keys: &[Key], terminal: &Terminal) -> String {
    let mut parts: Vec<_> = host
        .owners
        .iter()
        .zip(keys)
        .map(|(owner, key)| (*key, owner.bytes.get()))
        .collect();
    let unattributed = u64::try_from(host.unattributed_bytes).unwrap_or(0);
    parts.push((bar::OTHERS, unattributed));
    parts.sort_by_key(|(key, _)| *key == bar::FREE);
    bar::bar(&parts, host.total_bytes.get(), terminal)
}

/// A size with the mark of how well it is known.
pub(super) fn marked(bytes: Bytes, exactness: Exactness) -> String {
    let mark = match exactness {
        Exactness::Exact => "",
        Exactness::Inferred => "~",
        Exactness::Unnamed => "?",
    };
    format!("{mark}{bytes}")
}

/// A share in percent, with as many decimals as it takes to see it.
fn share(bytes: Bytes, total: Bytes) -> String {
    let percent = 100.0 * bytes.get() as f64 / total.get().max(1) as f64;
    if bytes > Bytes::ZERO && percent < 0.005 {
        return "<0.01%".to_owned();
    }
    let decimals = if percent >= 9.95 {
        0
    } else if percent >= 0.095 {
        1
    } else {
        2
    };
    format!("{percent:.decimals$}%")
}

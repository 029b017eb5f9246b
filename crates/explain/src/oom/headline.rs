//! The verdict in one or two sentences.

use super::{Answer, Class, Memory, Verdict, Zone};
use crate::report::Report;
use plimsoll_units::Bytes;

/// The sentence for a report; all else of the verdict is made by then.
pub(super) fn of(verdict: &Verdict, report: &Report) -> String {
    let what = match verdict.class {
        Class::Sysrq => {
            "A kill was asked for by hand (sysrq-f): this is no shortage of memory.".to_owned()
        }
        Class::MemcgV1 | Class::MemcgV2 | Class::Memcg => of_group(verdict),
        Class::Cpuset | Class::Mempolicy | Class::Global | Class::AllocationFailure => {
            of_host(verdict, report)
        }
    };
    match &report.panic {
        Some(_) => format!("{what} The kernel panicked over it."),
        None => what,
    }
}

fn of_group(verdict: &Verdict) -> String {
    let group = verdict.group.clone().unwrap_or_default();
    let name = group
        .path
        .as_deref()
        .unwrap_or("(its name is not in the report)");
    let limit = group.limit_bytes.map_or_else(
        || "its limit".to_owned(),
        |limit| format!("its limit of {limit}"),
    );
    let mut words = format!("The control group {name} met {limit}");
    if let Some(biggest) = group.parts.first() {
        words.push_str(&format!(": {} {}", biggest.bytes, biggest.name));
        for part in group
            .parts
            .iter()
            .skip(1)
            .take(2)
            .filter(|part| part.bytes.get() > biggest.bytes.get() / 10)
        {
            words.push_str(&format!(", {} {}", part.bytes, part.name));
        }
    }
    words.push('.');
    match (group.swap_limit_bytes, group.swap_bytes) {
        (Some(Bytes(0)), _) => words.push_str(" It may not use swap."),
        (Some(limit), Some(used)) if used >= limit => {
            words.push_str(&format!(" Its {limit} of swap were full too."))
        }
        _ => {}
    }
    words
}

fn of_host(verdict: &Verdict, report: &Report) -> String {
    let eligible: Vec<&Zone> = verdict
        .zones
        .iter()
        .filter(|zone| !matches!(zone.answer, Answer::WrongZone | Answer::WrongNode))
        .collect();
    let elsewhere = free_elsewhere(verdict);
    let order = verdict
        .request
        .as_ref()
        .and_then(|request| request.order)
        .unwrap_or(0);
    let all = |answers: &[Answer]| {
        !eligible.is_empty() && eligible.iter().all(|zone| answers.contains(&zone.answer))
    };
    let any = |answer: Answer| eligible.iter().any(|zone| zone.answer == answer);

    if eligible.is_empty() {
        return match &verdict.memory {
            Some(memory) => used_up(verdict, memory),
            None => no_figures(verdict, report),
        };
    }
    if order > 0 && any(Answer::Fragmented) && !any(Answer::Fits) {
        return fragmented(verdict, &eligible);
    }
    if any(Answer::OtherKinds) && all(&[Answer::OtherKinds, Answer::BelowMin, Answer::Reserved]) {
        let (free, usable) = (
            free(eligible.iter().copied()),
            eligible
                .iter()
                .filter_map(|zone| zone.usable_bytes)
                .sum::<Bytes>(),
        );
        return format!(
            "{free} were free where the request may go, but only {usable} of it of a kind that it may have: the rest is kept for movable pages (CMA) or for requests that can't wait."
        );
    }
    if all(&[
        Answer::BelowMin,
        Answer::Reserved,
        Answer::OtherKinds,
        Answer::BelowHigh,
    ]) && elsewhere > free(eligible.iter().copied())
    {
        return match verdict.class {
            Class::Cpuset | Class::Mempolicy => format!(
                "The memory nodes that the request is bound to were used up, while {elsewhere} were free on others."
            ),
            _ => format!(
                "The zones that such a request may use were used up, while {elsewhere} were free in zones that it may not use ({}).",
                names(
                    verdict
                        .zones
                        .iter()
                        .filter(|zone| zone.answer == Answer::WrongZone)
                )
            ),
        };
    }
    if any(Answer::Fits) {
        return format!(
            "Enough was free when the report was printed ({}); it is printed after the last try, so the shortage was passing, or another limit was met.",
            free(
                eligible
                    .iter()
                    .filter(|zone| zone.answer == Answer::Fits)
                    .copied()
            )
        );
    }
    match &verdict.memory {
        Some(memory) => used_up(verdict, memory),
        None => {
            let open = capital(verdict.class.words());
            if all(&[Answer::Unknown]) {
                format!("{open}; the report is cut where it would tell why.")
            } else {
                format!("{open}: every zone that the request may use is at its watermark.")
            }
        }
    }
}

/// All that a report without zones and counters tells.
fn no_figures(verdict: &Verdict, report: &Report) -> String {
    let open = capital(verdict.class.words());
    match verdict
        .slab
        .first()
        .filter(|cache| cache.bytes > Bytes::from_mib(64))
    {
        Some(cache) => format!(
            "{open}: the kernel held {} in objects of {} that it can't give back.",
            cache.bytes, cache.name
        ),
        None if report.zones.is_empty() => {
            format!("{open}; the report holds no zones to tell why.")
        }
        None => {
            format!("{open}; the report does not tell how large its pages are, and so not why.")
        }
    }
}

fn fragmented(verdict: &Verdict, eligible: &[&Zone]) -> String {
    let bytes = verdict.request.as_ref().and_then(|request| request.bytes);
    let wanted = bytes.map_or_else(|| "of that size".to_owned(), |bytes| format!("of {bytes}"));
    let shattered: Vec<&Zone> = eligible
        .iter()
        .filter(|zone| zone.answer == Answer::Fragmented)
        .copied()
        .collect();
    let open = format!(
        "Memory was free ({} in {}), but nowhere in one piece {wanted}",
        free(shattered.iter().copied()),
        names(shattered.iter().copied())
    );
    let closed = eligible.iter().filter(|zone| {
        zone.answer != Answer::Fragmented && zone.fitting_pieces.is_some_and(|count| count > 0)
    });
    let closed: Vec<&Zone> = closed.copied().collect();
    if closed.is_empty() {
        return format!("{open}: it was fragmented, and compaction could not help.");
    }
    let why = if closed.iter().all(|zone| zone.answer == Answer::Unknown) {
        "had pieces that large; what it keeps back is not in the report, and such requests are seldom let in"
    } else {
        "had pieces that large, but is closed to such a request"
    };
    format!(
        "{open}: it was fragmented, and compaction could not help. {} {why}.",
        names(closed.into_iter())
    )
}

/// Who had it: the owners that hold most, and what nobody claims.
fn used_up(verdict: &Verdict, memory: &Memory) -> String {
    let total = memory.total_bytes;
    let biggest = memory
        .owners
        .iter()
        .filter(|owner| !owner.reclaimable && owner.bytes.get() > total.get() / 12);
    let mut who: Vec<String> = biggest
        .take(3)
        .map(|owner| format!("{} {}", owner.bytes, owner.name))
        .collect();
    let unnamed = u64::try_from(memory.unattributed_bytes).unwrap_or(0);
    if unnamed > total.get() / 10 {
        who.push(format!(
            "{} that no line of the report names",
            Bytes(unnamed)
        ));
    }
    let swap = match (verdict.swap_total_bytes, verdict.swap_free_bytes) {
        (Some(Bytes(0)), _) => " There is no swap.".to_owned(),
        (Some(total), Some(free)) if free.get() < total.get() / 50 => {
            format!(" Swap ({total}) was full.")
        }
        (Some(total), Some(free)) => format!(" {free} of {total} of swap were free."),
        _ => String::new(),
    };
    let open = match verdict.class {
        Class::AllocationFailure => "Memory was short".to_owned(),
        class => capital(class.words()),
    };
    if who.is_empty() {
        return format!("{open}, of {total}.{swap}");
    }
    format!("{open}: of {total} there were {}.{swap}", who.join(", "))
}

/// Free where the request may not go: in zones that were printed, and on nodes that were not, since of a request that is bound
/// to some nodes only their zones are printed.
pub(super) fn free_elsewhere(verdict: &Verdict) -> Bytes {
    let is_closed = |zone: &&Zone| matches!(zone.answer, Answer::WrongZone | Answer::WrongNode);
    let printed = free(verdict.zones.iter().filter(is_closed));
    match (&verdict.memory, verdict.class) {
        (Some(memory), Class::Cpuset | Class::Mempolicy) => {
            printed + (memory.of("free") - free(verdict.zones.iter()))
        }
        _ => printed,
    }
}

fn free<'a>(zones: impl Iterator<Item = &'a Zone>) -> Bytes {
    zones.map(|zone| zone.free_bytes).sum()
}

fn names<'a>(zones: impl Iterator<Item = &'a Zone>) -> String {
    let mut names: Vec<&str> = Vec::new();
    for zone in zones {
        if !names.contains(&zone.name.as_str()) {
            names.push(&zone.name);
        }
    }
    names.join(", ")
}

fn capital(words: &str) -> String {
    let mut chars = words.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

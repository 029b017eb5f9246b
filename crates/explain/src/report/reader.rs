//! From a log to its reports, line by line.
//!
//! Reports may be cut at either end, and may lie in one another: while one CPU prints an OOM report, another may print an
//! allocation failure. So several may be open at once, and a line goes to the one that it is the next of.

use super::cut::{find, shown};
use super::marks::Marks;
use super::{Quoted, Report, kill, memcg, meminfo, tables, trigger};
use crate::log::{Line, lines};

/// So many lines are quoted of what is not understood in one report.
const QUOTED_MOST: usize = 20;
/// A report that is not gone on with for so many lines is over.
const SILENCE_LINES: usize = 2000;
/// Reports that lie in one another began within so many seconds.
const TOGETHER_S: f64 = 10.0;
/// So many are open at once at most.
const OPEN_MOST: usize = 4;
/// A report keeps rows and zones up to so many: hostile logs don't end.
const ROWS_MOST: usize = 1 << 16;

/// Every report of a log, in the order of their first lines.
#[must_use]
pub fn reports(log: &[u8]) -> Vec<Report> {
    let mut reader = Reader::default();
    let mut marks = Marks::new(log);
    let mut lines = lines(log);
    loop {
        if reader.open.is_empty() {
            lines.skip_to(marks.next(lines.place()));
        }
        let Some(line) = lines.next() else {
            return reader.finish();
        };
        reader.take(&line);
    }
}

#[derive(Default)]
struct Reader {
    open: Vec<Open>,
    done: Vec<Report>,
    /// The key was pressed, and no report has begun since.
    by_hand: bool,
}

/// A report that may go on.
struct Open {
    report: Report,
    /// Somebody was killed, or the body has ended: what is not understood from here on is not of the report.
    ended: bool,
    in_body: bool,
    /// How far it has come: see [`meminfo::stage`].
    stage: u8,
}

impl Open {
    /// Takes a line of the body, if it is one and this report does not have its like.
    fn take(&mut self, text: &[u8]) -> bool {
        let report = &mut self.report;
        let rows = report.tasks.len()
            + report.slab.len()
            + report.zones.len()
            + report.nodes.len()
            + report.hugepages.len();
        if rows > ROWS_MOST {
            return false;
        }
        // most lines are of this table, and a name in it may be anything
        if tables::task(report, text) {
            self.in_body |= !report.page_counts.is_empty();
            return true;
        }
        if meminfo::is_filled(report, text) {
            return false;
        }
        let is_head = trigger::cpuset(report, text) || trigger::who_and_kernel(report, text);
        let taken = is_head
            || trigger::stack(report, text)
            || tables::task_title(report, text)
            || memcg::take(report, text)
            || meminfo::take(report, text)
            || tables::slab(report, text)
            || tables::allocation(report, text)
            || trigger::slub(report, text);
        self.in_body |= taken && !is_head && !report.page_counts.is_empty();
        taken
    }
}

impl Reader {
    fn take(&mut self, line: &Line<'_>) {
        let text = &*line.text;
        if self.open.is_empty() && !may_begin(text) {
            return;
        }
        self.close_silent(line.number);
        if kill::is_by_hand(text) {
            self.by_hand = true;
        } else if let Some(found) = trigger::trigger(text) {
            let mut report = Report {
                trigger: Some(found),
                by_hand: self.by_hand,
                ..Report::default()
            };
            self.by_hand = false;
            trigger::cpuset(&mut report, text);
            self.begin(report, line);
        } else if !self.take_end(line, text) && !self.take_body(line, text) {
            self.quote(line, text);
        }
    }

    /// Opens a report; one before it that has come to its end is closed.
    fn begin(&mut self, report: Report, line: &Line<'_>) {
        let is_oom = |report: &Report| report.trigger.as_ref().is_none_or(|one| !one.is_failure);
        let new_is_oom = is_oom(&report);
        let over = |open: &Open| {
            let body_ended = open.in_body && !is_oom(&open.report);
            // the kernel prints one OOM report at a time (`oom_lock`): one before this was cut
            let was_cut = new_is_oom && is_oom(&open.report);
            let times = line.time_s.zip(open.report.time_s);
            let is_long_ago = times.is_some_and(|(now, then)| now - then > TOGETHER_S);
            open.ended || body_ended || was_cut || is_long_ago
        };
        while let Some(at) = self
            .open
            .iter()
            .position(over)
            .or((self.open.len() >= OPEN_MOST).then_some(0))
        {
            self.done.push(self.open.remove(at).report);
        }
        let report = Report {
            lines: (line.number, line.number),
            time_s: line.time_s,
            ..report
        };
        self.open.push(Open {
            report,
            ended: false,
            in_body: false,
            stage: 0,
        });
    }

    fn close_silent(&mut self, now: usize) {
        while let Some(at) = self
            .open
            .iter()
            .position(|open| now.saturating_sub(open.report.lines.1) > SILENCE_LINES)
        {
            self.done.push(self.open.remove(at).report);
        }
    }

    /// Who was chosen, killed, reaped; panics.
    fn take_end(&mut self, line: &Line<'_>, text: &[u8]) -> bool {
        if let Some(constraint) = kill::constraint(text) {
            let open = self.oom(line, |report| report.constraint.is_none());
            open.report.constraint = Some(constraint);
            return true;
        }
        if let Some(killed) = kill::kill(text) {
            let open = self.oom(line, |report| may_kill(report, killed.pid));
            enter_kill(&mut open.report, killed);
            if text.starts_with(b"Memory cgroup out of memory") {
                open.report.memcg.get_or_insert_default();
            }
            open.ended = true;
            return true;
        }
        if let Some((pid, left)) = kill::reaped(text) {
            let open = self.open.iter_mut().map(|open| &mut open.report);
            let mut kills = open
                .chain(self.done.iter_mut().rev().take(8))
                .flat_map(|report| &mut report.kills);
            if let Some(kill) = kills.find(|kill| kill.pid == pid && kill.left_kb.is_none()) {
                kill.left_kb = Some(left);
            }
            return true;
        }
        let Some(open) = self.open.last_mut() else {
            let mut report = Report::default();
            if kill::remark(&mut report, text)
                && (report.nobody_to_kill
                    || report.panic.as_ref().is_some_and(|why| is_of_memory(why)))
            {
                self.begin(report, line);
                return true;
            }
            return false;
        };
        if !kill::remark(&mut open.report, text) {
            return false;
        }
        open.report.lines.1 = line.number;
        if open.report.panic.is_some() {
            open.ended = true;
        }
        true
    }

    /// The newest open OOM report that wants such a line; a new one, cut at its head, where there is none.
    fn oom(&mut self, line: &Line<'_>, wants: impl Fn(&Report) -> bool) -> &mut Open {
        let is_oom = |report: &Report| {
            report
                .trigger
                .as_ref()
                .is_none_or(|trigger| !trigger.is_failure)
        };
        let at = self
            .open
            .iter()
            .rposition(|open| is_oom(&open.report) && wants(&open.report));
        let at = at.unwrap_or_else(|| {
            self.begin(Report::default(), line);
            self.open.len() - 1
        });
        #[expect(
            clippy::indexing_slicing,
            reason = "a place that was just found or made"
        )]
        let open = &mut self.open[at];
        open.report.lines.1 = line.number;
        open
    }

    fn take_body(&mut self, line: &Line<'_>, text: &[u8]) -> bool {
        if self.open.is_empty() {
            if !is_body_head(text) {
                return false;
            }
            self.begin(Report::default(), line);
        }
        let stage = meminfo::stage(text);
        for at in self.by_likelihood(stage) {
            let Some(open) = self.open.get_mut(at) else {
                continue;
            };
            if !open.take(text) {
                continue;
            }
            open.stage = open.stage.max(stage);
            open.report.lines.1 = line.number;
            return true;
        }
        false
    }

    /// The open reports, first the one that such a line is the next of: which has come to this stage, or nearest before it; of
    /// several the oldest, which is ahead of the others.
    fn by_likelihood(&self, stage: u8) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.open.len()).collect();
        if places.len() > 1 {
            let come_to = |at: &usize| self.open.get(*at).map_or(0, |open| open.stage);
            places.sort_by_key(|at| (come_to(at) > stage, stage.abs_diff(come_to(at))));
        }
        places
    }

    fn quote(&mut self, line: &Line<'_>, text: &[u8]) {
        let Some(open) = self.open.iter_mut().rev().find(|open| !open.ended) else {
            return;
        };
        let is_failure = open
            .report
            .trigger
            .as_ref()
            .is_some_and(|trigger| trigger.is_failure);
        if is_failure && open.in_body || text.is_empty() {
            return;
        }
        if open.report.quoted.len() < QUOTED_MOST {
            open.report.quoted.push(Quoted {
                line: line.number,
                text: shown(text),
            });
        } else {
            open.report.not_quoted += 1;
        }
    }

    fn finish(mut self) -> Vec<Report> {
        self.done
            .extend(self.open.into_iter().map(|open| open.report));
        for report in &mut self.done {
            // what stands behind the last line of a report that was cut is not of it
            let last = report.lines.1;
            let before = report.quoted.len();
            report.quoted.retain(|quoted| quoted.line <= last);
            if report.quoted.len() < before {
                report.not_quoted = 0;
            }
        }
        self.done.sort_by_key(|report| report.lines);
        self.done
    }
}

/// What a report whose first lines are gone may begin with.
fn is_body_head(text: &[u8]) -> bool {
    [b"Mem-Info:".as_slice(), b"Mem-info:", b"memory: usage "]
        .iter()
        .any(|head| text.starts_with(head))
        || text.starts_with(b"Task in ")
            && find(text, b" killed as a result of limit of ").is_some()
}

/// Whether a line can be the first of a report, or tell of one whose head is gone. What is looked for here has to have a word of
/// [`Marks`] in it.
fn may_begin(text: &[u8]) -> bool {
    const MARKS: [&[u8]; 5] = [
        b"invoked oom-killer",
        b"page allocation failure",
        b"ill",
        b"anual OOM",
        b"Kernel panic",
    ];
    match text.first() {
        Some(b'M' | b'm' | b'T') if is_body_head(text) => true,
        Some(b'o') if text.starts_with(b"oom") => true,
        _ => MARKS.iter().any(|mark| find(text, mark).is_some()),
    }
}

fn is_of_memory(panic: &str) -> bool {
    panic.contains("memory")
}

/// Whether a kill may be of this report: its first, another of the same group, or the second line about the same one.
fn may_kill(report: &Report, pid: u64) -> bool {
    report.kills.is_empty()
        || report
            .kills
            .iter()
            .any(|kill| kill.pid == pid || kill.kb.is_empty())
        || report.memcg.as_ref().is_some_and(|memcg| memcg.kills_all)
}

/// Kernels before 5.1 tell twice: with the score first, with the sizes then; the second may be a child in its parent's place.
fn enter_kill(report: &mut Report, killed: super::Kill) {
    let last = report.kills.last_mut().filter(|last| last.kb.is_empty());
    match last {
        Some(last) => {
            *last = super::Kill {
                score: last.score,
                ..killed
            }
        }
        None => report.kills.push(killed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every line of it, none passed over.
    fn without_passing_over(log: &[u8]) -> Vec<Report> {
        let mut reader = Reader::default();
        lines(log).for_each(|line| reader.take(&line));
        reader.finish()
    }

    const LINES: [&str; 18] = [
        "[1.0] audit: nothing\n",
        "[1.0] audit: skills, a memory: and OOM\n",
        "Jun 18 07:44:52 host kernel: [1.0] usb 1-1: new device\n",
        "no prefix\n",
        "killed, no prefix\n",
        " a blank and panic\n",
        "\n",
        "[1.0] Node 0 \n",
        "[1.0] Node \n",
        "0 \n",
        "[1.0] 1*4kB \n",
        "[1.0] (UM) \n",
        "[1.0] dd invoked \n",
        "oom-killer: gfp_mask=0x100cca, order=0\n",
        "[1.0] Mem-Info:\n",
        "4,1,5,-;Out of memory: Killed process 7 (dd)\\x0aKilled process 8 (dd)\n",
        "[1.0] Out of memory: Killed process 148 (dd) total-vm:9kB, anon-rss:8kB\n",
        "[1.0] oom_reaper: reaped process 148 (dd), now anon-rss:0kB\n",
    ];

    proptest! {
        #[test]
        fn what_is_passed_over_is_of_no_report(
            lines in proptest::collection::vec((0..LINES.len(), 1..60_usize), 0..40),
        ) {
            let log: String = lines.iter().map(|(line, times)| LINES[*line].repeat(*times)).collect();
            prop_assert_eq!(reports(log.as_bytes()), without_passing_over(log.as_bytes()));
        }
    }

    #[test]
    fn between_reports_lines_are_counted_on() {
        let report = include_str!("../../fixtures/oom-6.12-global.txt");
        let others = "[5.0] audit: something else\n".repeat(3000);
        let log = format!("{others}{report}{others}{report}{others}");
        let found = reports(log.as_bytes());
        assert_eq!(found, without_passing_over(log.as_bytes()));
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].lines.0, 6001 + report.lines().count());
    }
}

//! Findings for people: the gravest first, each with its evidence; then what was looked for and is not there.

use super::paragraphs::{heading, item, line};
use crate::terminal::{Colour, Terminal};
use plimsoll_explain::findings::{Document, Finding, Outcome, Severity};

/// All of a document.
pub(super) fn view(document: &Document, terminal: &Terminal) -> String {
    let mut text = String::new();
    if document.findings.is_empty() {
        text.push_str(&line("Nothing was found.", 0, terminal));
    }
    for (at, finding) in document.findings.iter().enumerate() {
        if at > 0 {
            text.push('\n');
        }
        text.push_str(&one(finding, terminal));
    }
    rules(
        &mut text,
        document,
        Outcome::Nothing,
        "Looked for and not there",
        terminal,
    );
    rules(
        &mut text,
        document,
        Outcome::NotSeen,
        "Could not be looked for",
        terminal,
    );
    if !document.unseen.is_empty() {
        heading(&mut text, "Not seen", terminal);
        for unseen in &document.unseen {
            text.push_str(&item(&format!("{}: {}", unseen.what, unseen.why), terminal));
        }
    }
    text
}

fn one(finding: &Finding, terminal: &Terminal) -> String {
    let severity = match finding.severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    };
    let title = format!("{severity}: {} [{}]", finding.title, finding.id);
    let title = line(&title, 0, terminal);
    let mut text = terminal.paint(Colour::Strong, title.trim_end()).to_string();
    text.push('\n');
    for evidence in &finding.evidence {
        let words = format!(
            "{}  {}: {}",
            evidence.source, evidence.field, evidence.value
        );
        text.push_str(&line(&words, 4, terminal));
    }
    text.push_str(&line(&finding.means, 2, terminal));
    for remedy in &finding.remedies {
        text.push_str(&item(&remedy.what, terminal));
        if let Some(command) = &remedy.command {
            text.push_str(&line(command, 8, terminal));
        }
        if let Some(undo) = &remedy.undo {
            text.push_str(&line(&format!("undone by: {undo}"), 8, terminal));
        }
    }
    text
}

fn rules(
    text: &mut String,
    document: &Document,
    outcome: Outcome,
    title: &str,
    terminal: &Terminal,
) {
    let mut rules = document
        .rules
        .iter()
        .filter(|rule| rule.outcome == outcome)
        .peekable();
    if rules.peek().is_none() {
        return;
    }
    heading(text, title, terminal);
    for rule in rules {
        let needs = rule
            .why
            .map(|why| format!(" (needs {why})"))
            .unwrap_or_default();
        text.push_str(&item(&format!("{}{needs}", rule.looks_for), terminal));
    }
}

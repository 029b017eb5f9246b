//! Why memory ran out, with the evidence. Pure: a log or an account in, findings out.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`log`] | the kernel log in any of its forms, line by line |
//! | [`report`] | reader: every OOM report and allocation failure in a log |
//! | [`findings`] | decider: what is wrong with a host, by a table of rules (`plimsoll.explain/1`) |
//! | [`overcommit`] | decider: what is promised, what can be delivered, and the band between (`plimsoll.explain-overcommit/1`) |
//! | [`oom`] | decider: what a report says, in plain words and in figures (`plimsoll.explain-oom/1`) |

pub mod findings;
pub mod log;
pub mod oom;
pub mod overcommit;
pub mod report;

//! What stands in the way of a checkpoint or a restore, each with its remedy. All that can be known is known before anything
//! is stopped or made.

/// Something that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// Of which process; `None` where it is not one process's.
    pub pid: Option<u32>,
    /// What it is.
    pub what: String,
    /// What can be done about it.
    pub remedy: String,
    /// Whether more privilege is all that it takes.
    pub is_privilege: bool,
}

impl Obstacle {
    /// One that no privilege removes.
    pub(crate) fn new(pid: u32, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            pid: Some(pid),
            what: what.into(),
            remedy: remedy.into(),
            is_privilege: false,
        }
    }
}

/// All of them, as a person reads them.
pub(crate) fn list(obstacles: &[Obstacle]) -> String {
    let mut text = match obstacles.len() {
        1 => "something stands in the way:".to_owned(),
        n => format!("{n} things stand in the way:"),
    };
    for obstacle in obstacles {
        text += "\n  ";
        if let Some(pid) = obstacle.pid {
            text += &format!("process {pid}: ");
        }
        text += &format!("{} (remedy: {})", obstacle.what, obstacle.remedy);
    }
    text
}

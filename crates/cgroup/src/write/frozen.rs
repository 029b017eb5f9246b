//! Groups frozen and thawed: `cgroup.freeze` of v2 (5.2), `freezer.state` of v1.
//!
//! Two things differ. A frozen v2 group can be killed and traced; in v1 a signal waits for the thaw. And v1 can get stuck
//! on the way, `FREEZING`, when a thread could not be frozen at once: it has to be told again
//! (`cgroup-v1/freezer-subsystem.rst`).

use super::{ControlError, Group};
use crate::format::FlatKeyed;
use crate::mount::Version;
use crate::v1::FreezerState;

/// How a group stands: v1's words for both interfaces. `None` where it has no freezer: the top of a hierarchy.
///
/// # Errors
/// As `read(2)`.
pub fn state(group: &Group) -> Result<Option<FreezerState>, ControlError> {
    if group.version() == Version::V1 {
        return group.read("freezer.state");
    }
    let Some(asked) = group.read::<bool>("cgroup.freeze")? else {
        return Ok(None);
    };
    let events: Option<FlatKeyed> = group.read("cgroup.events")?;
    let stands = events.is_some_and(|events| events.get("frozen") == Some(1));
    Ok(Some(match (stands, asked) {
        (true, _) => FreezerState::Frozen,
        (false, true) => FreezerState::Freezing,
        (false, false) => FreezerState::Thawed,
    }))
}

/// Asks for it; [`state`] says when it is so. On v1 to be asked again while it is [`FreezerState::Freezing`].
///
/// # Errors
/// As `write(2)`.
pub fn freeze(group: &Group) -> Result<(), ControlError> {
    let (file, frozen, _) = words(group.version());
    group.set(file, frozen)
}

/// Lets it run again.
///
/// # Errors
/// As `write(2)`.
pub fn thaw(group: &Group) -> Result<(), ControlError> {
    let (file, _, thawed) = words(group.version());
    group.set(file, thawed)
}

/// The file, and what is written to freeze and to thaw.
fn words(version: Version) -> (&'static str, &'static str, &'static str) {
    match version {
        Version::V1 => ("freezer.state", "FROZEN", "THAWED"),
        Version::V2 => ("cgroup.freeze", "1", "0"),
    }
}

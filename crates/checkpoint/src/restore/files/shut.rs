//! The ways of a socket that were shut (`shutdown(2)`), as the images number them.

use plimsoll_image::proto::SkShutdown;
use rustix::net::Shutdown;

/// What is to be shut again; `None` where nothing is.
pub(super) fn ways(shutdown: Option<i32>) -> Option<Shutdown> {
    match SkShutdown::try_from(shutdown?).ok()? {
        SkShutdown::Read => Some(Shutdown::Read),
        SkShutdown::Write => Some(Shutdown::Write),
        SkShutdown::Both => Some(Shutdown::Both),
        SkShutdown::None => None,
    }
}

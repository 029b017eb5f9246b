//! Places where a test kills us, to see what survives. Nothing in a build without the feature `fault-points`.

/// Dies here, as by SIGKILL, when `PLIMSOLL_FAULT_POINT` names this place.
#[cfg(feature = "fault-points")]
pub(crate) fn fault_point(name: &str) {
    if std::env::var("PLIMSOLL_FAULT_POINT").is_ok_and(|wanted| wanted == name) {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Nothing.
#[cfg(not(feature = "fault-points"))]
pub(crate) fn fault_point(_: &str) {}

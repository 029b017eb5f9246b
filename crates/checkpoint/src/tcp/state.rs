//! The states of a TCP socket (RFC 9293, section 3.3.2), by the kernel's numbers (`net/tcp_states.h`).

pub(crate) const ESTABLISHED: u32 = 1;
pub(crate) const SYN_SENT: u32 = 2;
pub(crate) const FIN_WAIT1: u32 = 4;
pub(crate) const FIN_WAIT2: u32 = 5;
pub(crate) const CLOSE: u32 = 7;
pub(crate) const CLOSE_WAIT: u32 = 8;
pub(crate) const LAST_ACK: u32 = 9;
pub(crate) const LISTEN: u32 = 10;
pub(crate) const CLOSING: u32 = 11;

/// Which ends of a connection are closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    /// This end has been closed, and when.
    pub(crate) ours: Option<Ours>,
    /// The peer has closed its end, and we know.
    pub(crate) theirs: bool,
}

/// An end that was closed by its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ours {
    /// Before the peer's was.
    pub(crate) first: bool,
    /// The peer knows.
    pub(crate) acknowledged: bool,
}

impl Ends {
    /// By the state of a socket that is, or was, connected; `None` for a state that no such socket is in.
    pub(crate) fn of(state: u32) -> Option<Self> {
        let ours = |first, acknowledged| {
            Some(Ours {
                first,
                acknowledged,
            })
        };
        let (ours, theirs) = match state {
            ESTABLISHED | SYN_SENT => (None, false),
            FIN_WAIT1 => (ours(true, false), false),
            FIN_WAIT2 => (ours(true, true), false),
            CLOSING => (ours(true, false), true),
            CLOSE_WAIT => (None, true),
            LAST_ACK => (ours(false, false), true),
            CLOSE => (ours(false, true), true),
            _ => return None,
        };
        Some(Self { ours, theirs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_known_of_every_connection() {
        for state in [
            ESTABLISHED,
            SYN_SENT,
            FIN_WAIT1,
            FIN_WAIT2,
            CLOSE,
            CLOSE_WAIT,
            LAST_ACK,
            CLOSING,
        ] {
            assert!(Ends::of(state).is_some(), "{state}");
        }
        assert_eq!((Ends::of(LISTEN), Ends::of(99)), (None, None));
        assert_eq!(Ends::of(ESTABLISHED), Some(Ends::default()));
    }
}

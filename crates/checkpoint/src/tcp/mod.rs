//! TCP connections, held still by `TCP_REPAIR` (`tcp(7)`; `net/ipv4/tcp.c` of the kernel): a socket in that mode tells and
//! takes its sequence numbers and queues, connects without a packet, and is closed without one.
//!
//! ```text
//! state      which ends of a connection are closed, by its state                  decides
//! repair     the mode and what can be asked and set in it                         acts
//! segment    a segment as the peer would send it, where only a packet will do     bytes
//! lock       no packet of a connection comes or goes while nobody is there        acts
//! nftables   how the kernel is told so                                            bytes
//! time_wait  what closed connections leave on a port that is wanted again         acts
//! ```

pub(crate) mod lock;
mod nftables;
pub(crate) mod repair;
pub(crate) mod segment;
pub(crate) mod state;
pub(crate) mod time_wait;

/// Packets that bear this mark pass the lock: CRIU's number, so that its locks know ours.
pub(crate) const MARK: u32 = 0xC114;

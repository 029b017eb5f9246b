//! The last minutes of a host, kept in locked memory and written out when it matters.
//!
//! When memory runs out, whoever wants to look can't start any more: a shell does not fork, a program's pages have to
//! come back from swap first. So [`Recorder`] takes everything it needs beforehand: memory that is locked, descriptors that stay
//! open, a thread that writes. From then on a beat is `pread(2)` into buffers that are there; it allocates nothing and forks
//! nothing.
//!
//! What a beat keeps is the text of kernel files as it is ([`Beat`]), so that any reader and any finding that works on a
//! captured tree works on a moment of a recording too ([`Recording::lay_out`]). The text is told as difference from the
//! first beat of its slot ([`delta`]), and a [`Ring`] of slots forgets the oldest slot as a whole.
//!
//! Readers: [`Sampler`]. Deciders, pure: [`Ring`], [`delta`], [`trigger`]. Actors: [`Recorder`].
//! The bytes of a recording are described in `docs/record-format.md`.

pub mod beat;
pub mod bell;
pub mod delta;
pub mod recording;
pub mod ring;
pub mod sampler;
pub mod trigger;

mod census;
mod format;
mod keeper;
mod recorder;

pub use beat::{Beat, Source};
pub use keeper::{FILES_KEPT, soon_after};
pub use recorder::{Ended, Note, RecordError, Recorder, Settings, Written};
pub use recording::{Recording, RecordingError};
pub use ring::Ring;
pub use sampler::Sampler;

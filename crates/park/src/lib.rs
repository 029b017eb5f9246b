//! Pages out of a living process, and the pager that brings them back.
//!
//! [`store`] is the one format that parked memory is kept in: packed, checksummed, readable by address,
//! and recoverable after a kill at any instant. It knows nothing of live processes; what reads pages
//! comes in as a [`store::PageSource`].

pub mod pager;
pub mod plan;
pub mod runtime;
pub mod store;
pub mod view;

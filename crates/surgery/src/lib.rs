//! What park, checkpoint and migrate share: a process tree brought to a stand, looked into, acted in from
//! outside, and let go as it was.
//!
//! 1. [`holds`] looks at what a process holds and lists every obstacle with its remedy. Nothing is stopped.
//! 2. [`stop`] seizes every thread of a tree with `ptrace(2)` and interrupts it. Children born meanwhile are
//!    seized at birth, so none escapes; the parent of the tree sees nothing. While the [`stop::StoppedTree`]
//!    lives, nothing of the tree runs; when it is dropped, or its owner dies, everything runs on.
//! 3. [`operate`] has a stopped thread execute single system calls.
//! 4. [`freeze`] is for what is to stand still *without* us: a cgroup frozen, or SIGSTOP, decided and recorded
//!    before it is done, so that a later process can undo it.
//!
//! Why in this order, and what each kernel mechanism was found to do: `docs/design/004-surgery.md`.

pub mod freeze;
pub mod holds;
pub mod operate;
pub mod stop;
pub mod tree;

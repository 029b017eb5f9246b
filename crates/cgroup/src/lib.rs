//! cgroup v1 and v2: what a group holds, its limits and its pressure, under a [`plimsoll_proc::Root`].
//!
//! Sources: `Documentation/admin-guide/cgroup-v2.rst`, `Documentation/admin-guide/cgroup-v1/memory.rst`.

//! Calls by a thread that has a descriptor table of its own, for what the process is never to hold: a descriptor that we make in
//! its memory's name, and take.

use super::{OperateError, Operation};
use plimsoll_sys::remote::Aside;

impl Operation<'_> {
    /// Has the process make such a thread ([`Aside`]) for `work`, after which it ends. Killed meanwhile, we leave nothing but 32 KiB of
    /// memory that was mapped for it.
    ///
    /// # Errors
    /// [`OperateError`]; where the process can't be left by a thread (it has no signal restorer, or shadow stacks), it is refused.
    pub fn aside<T>(&mut self, work: impl FnOnce(&mut Aside) -> T) -> Result<T, OperateError> {
        let pid = self.pid();
        let room = self.map_scratch()?;
        let calls = self.calls.as_mut().ok_or(OperateError::NoThread { pid })?;
        // What a thread may still be leaving by is not unmapped.
        let mut thread = match calls.aside(&self.site, room)? {
            Ok(thread) => thread,
            Err(errno) => {
                self.unmap(room)?;
                let what = "make a thread";
                return Err(OperateError::Refused { pid, what, errno });
            }
        };
        let done = work(&mut thread);
        thread.end()?;
        self.unmap(room)?;
        Ok(done)
    }
}

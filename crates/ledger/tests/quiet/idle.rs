//! A host at rest: every byte has an owner, but for a few.

use super::{measure, mib, settle, up_to_three_times};
use plimsoll_testkit::need;
use plimsoll_units::Bytes;

/// What may be left over: 24 MiB, or 0.2 % of RAM where that is more.
fn allowed(total: Bytes) -> Bytes {
    Bytes::from_mib(24).max(Bytes(total.get() / 500))
}

#[test]
fn little_is_left_over() {
    need!(Root);
    up_to_three_times(|| {
        settle();
        let host = measure().host;
        let owned: Bytes = host.owners.iter().map(|owner| owner.bytes).sum();
        let left_over = host.unattributed_bytes;
        println!(
            "unattributed {:+.2} MiB, allowed {}, of {}",
            mib(left_over),
            allowed(host.total_bytes),
            host.total_bytes
        );
        assert_eq!(host.total_bytes.signed_sub(owned), left_over);
        if Bytes(left_over.unsigned_abs()) > allowed(host.total_bytes) {
            return Err(format!("{left_over} bytes are left over"));
        }
        Ok(())
    });
}

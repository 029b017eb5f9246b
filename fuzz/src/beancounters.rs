//! What OpenVZ containers were allowed, said by files that say anything at all.

use crate::assert_harmless;
use plimsoll_hold::Numbers;
use plimsoll_hold::beancounters::check::{Sold, check};
use plimsoll_hold::beancounters::{convert, read, write};
use plimsoll_units::{Bytes, PageSize};

/// Each container is converted, with all 22 parameters accounted for; what is written of it has no words of the file.
pub fn beancounters(bytes: &[u8]) {
    let page = PageSize::new(16384).expect("a power of two");
    let mut conversions = Vec::new();
    for container in read(bytes, page) {
        let conversion = convert(&container);
        assert_eq!(conversion.parameters.len(), 22);
        for warning in check(&container, &conversion) {
            assert_harmless(&warning.to_string());
        }
        for other in &conversion.others {
            assert_harmless(&other.name);
            assert_harmless(&other.value);
        }
        for text in [write::systemd(&conversion), write::lxc(&conversion)] {
            assert_eq!(text.is_some(), conversion.numbers.is_some());
            text.iter()
                .flat_map(|text| text.lines())
                .for_each(assert_harmless);
        }
        conversions.push(conversion);
    }
    let host = Numbers {
        ram: Bytes(1 << 33),
        swap: Bytes(1 << 33),
    };
    let sold = Sold::of(&conversions, host);
    sold.oversold()
        .iter()
        .for_each(|line| assert_harmless(line));
}

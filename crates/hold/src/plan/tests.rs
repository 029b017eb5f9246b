//! Hosts and numbers, and what is decided for them.

use super::*;
use crate::host::Zswap;
use plimsoll_cgroup::mount::Hierarchy;
use plimsoll_proc::state::SwapArea;

const MIB: u64 = 1 << 20;
const NUMBERS: Numbers = Numbers {
    ram: Bytes::from_mib(1000),
    swap: Bytes::from_mib(2000),
};

fn host(version: Version, swaps: &[(&str, u64)]) -> Host {
    let area = |(path, mib): &(&str, u64)| SwapArea {
        path: (*path).to_owned(),
        size: Bytes::from_mib(*mib),
        used: Bytes::ZERO,
        priority: 0,
    };
    Host {
        memory: Hierarchy {
            version,
            mount_point: "/sys/fs/cgroup".into(),
            root: "/".into(),
            device: (0, 0),
        },
        beside: None,
        ram: Bytes::from_mib(4000),
        swaps: swaps.iter().map(area).collect(),
        zswap: None,
        systemd: false,
    }
}

fn all(version: Version) -> Abilities {
    Abilities {
        version,
        swap: true,
        high: true,
        writeback: true,
        low: true,
        pids: true,
        tcp: true,
        memsw: Limit::Max,
    }
}

/// `file=MiB`, `file=max`, `file=no`, or `fit=MiB`.
fn words(plan: &Plan) -> Vec<String> {
    let word = |step: &Step| match step {
        Step::Write(file, Value::Flag(flag)) => format!("{file}={flag}"),
        Step::Write(file, Value::Limit(Limit::Max)) => format!("{file}=max"),
        Step::Write(file, Value::Limit(Limit::Bytes(bytes))) => {
            format!("{file}={}", bytes.get() / MIB)
        }
        Step::MustFit(bytes) => format!("fit={}", bytes.get() / MIB),
    };
    plan.steps.iter().map(word).collect()
}

#[test]
fn v2_keeps_the_sum_and_slows_down_just_below_ram() {
    let plan = plan(
        &NUMBERS.into(),
        &host(Version::V2, &[("/dev/vdb", 4000)]),
        &all(Version::V2),
    );
    let expected = [
        "memory.swap.max=2000",
        "memory.high=1000",
        "fit=1000",
        "memory.max=1000",
        "memory.high=980",
    ];
    assert_eq!(words(&plan), expected);
    let area = "/dev/vdb".to_owned();
    assert_eq!(plan.remarks, [Remark::SwapOnDisk { area }]);
}

#[test]
fn without_swap_nobody_is_slowed_down_for_nothing() {
    let expected = [
        "memory.swap.max=2000",
        "memory.high=1000",
        "fit=1000",
        "memory.max=1000",
        "memory.high=max",
    ];
    let bare = plan(&NUMBERS.into(), &host(Version::V2, &[]), &all(Version::V2));
    assert_eq!(words(&bare), expected);
    assert_eq!(bare.remarks, [Remark::NoSwap]);

    let none_asked = Numbers {
        swap: Bytes::ZERO,
        ..NUMBERS
    };
    let plan = plan(
        &none_asked.into(),
        &host(Version::V2, &[("/dev/vdb", 9)]),
        &all(Version::V2),
    );
    assert_eq!(words(&plan)[0], "memory.swap.max=0");
    assert_eq!(words(&plan)[4], "memory.high=max");
    assert_eq!(plan.remarks, []);
}

#[test]
fn what_lies_behind_swap_is_said() {
    let zram = host(Version::V2, &[("/dev/zram0", 4000), ("/dev/vdb", 9000)]);
    let remarks = plan(&NUMBERS.into(), &zram, &all(Version::V2)).remarks;
    let area = "/dev/zram0".to_owned();
    assert_eq!(remarks, [Remark::SwapInZram { area }]);

    for (shrinker, writeback, never_to_disk) in [
        (false, true, false),
        (true, true, true),
        (true, false, false),
    ] {
        let mut zswap = host(Version::V2, &[("/dev/vdb", 4000)]);
        zswap.zswap = Some(Zswap { shrinker });
        let can = Abilities {
            writeback,
            ..all(Version::V2)
        };
        let plan = plan(&NUMBERS.into(), &zswap, &can);
        assert_eq!(plan.remarks, [Remark::SwapInZswap { never_to_disk }]);
        let written = words(&plan).contains(&"memory.zswap.writeback=false".to_owned());
        assert_eq!(written, never_to_disk);
    }

    let little = plan(
        &NUMBERS.into(),
        &host(Version::V2, &[("/dev/vdb", 5)]),
        &all(Version::V2),
    );
    let swap_bytes = Bytes::from_mib(5);
    assert_eq!(little.remarks[0], Remark::LessSwap { swap_bytes });
}

#[test]
fn v1_keeps_the_sum_with_tcp_and_in_an_order_that_the_kernel_takes() {
    let host = host(Version::V1, &[("/dev/vdb", 4000)]);
    let limits = [
        "memory.limit_in_bytes=980",
        "memory.memsw.limit_in_bytes=2980",
    ];
    let tcp = "memory.kmem.tcp.limit_in_bytes=20";
    for (memsw, first) in [
        (Limit::Max, 0),
        (Limit::Bytes(Bytes::from_mib(979)), 1),
        (Limit::Bytes(Bytes::from_mib(980)), 0),
    ] {
        let can = Abilities {
            memsw,
            ..all(Version::V1)
        };
        let plan = plan(&NUMBERS.into(), &host, &can);
        assert_eq!(
            words(&plan),
            [limits[first], limits[1 - first], tcp],
            "{memsw:?}"
        );
    }
}

#[test]
fn what_v1_can_not_keep_is_said() {
    let can = Abilities {
        swap: false,
        tcp: false,
        ..all(Version::V1)
    };
    let plan = plan(&NUMBERS.into(), &host(Version::V1, &[]), &can);
    assert_eq!(words(&plan), ["memory.limit_in_bytes=1000"]);
    let said = [Remark::NoSwap, Remark::SwapNotCounted, Remark::NotSlowed];
    assert_eq!(plan.remarks, said);
}

#[test]
fn more_than_there_is_is_said() {
    let numbers = Numbers {
        ram: Bytes::from_mib(5000),
        swap: Bytes::ZERO,
    };
    let plan = plan(&numbers.into(), &host(Version::V2, &[]), &all(Version::V2));
    let ram_bytes = Bytes::from_mib(4000);
    assert_eq!(plan.remarks, [Remark::MoreThanTheHost { ram_bytes }]);
}

#[test]
fn slowing_down_is_bounded_at_any_size() {
    for (mib, below) in [(50, 1), (1000, 20), (3200, 64), (1 << 20, 64)] {
        assert_eq!(margin(Bytes::from_mib(mib)), Bytes::from_mib(below));
    }
}

#[test]
fn what_comes_from_beancounters_is_kept_or_said() {
    let asked = Asked {
        low: Some(Bytes::from_mib(10)),
        pids_max: Some(240 * MIB),
        ..NUMBERS.into()
    };
    let host = host(Version::V2, &[]);
    let there = plan(&asked, &host, &all(Version::V2));
    assert_eq!(words(&there)[5..], ["memory.low=10", "pids.max=240"]);
    let can = Abilities {
        low: false,
        pids: false,
        ..all(Version::V2)
    };
    let setting = |setting| Remark::NotHere { setting };
    let remarks = plan(&asked, &host, &can).remarks;
    assert_eq!(remarks[1..], [setting("memory.low"), setting("pids.max")]);
}

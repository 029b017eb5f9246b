//! Real files: vzctl's samples, a how-to's configuration, and the counters of two rented containers.

use plimsoll_hold::Numbers;
use plimsoll_hold::beancounters::check::{Sold, Warning, check};
use plimsoll_hold::beancounters::convert::{Conversion, Kind};
use plimsoll_hold::beancounters::parameters::{Parameter, Support, TABLE};
use plimsoll_hold::beancounters::{Container, convert, read, write};
use plimsoll_units::{Bytes, PageSize};

const PAGE: u64 = 4096;
const GIB: u64 = 1 << 30;

macro_rules! file {
    ($name:literal) => {
        (
            $name,
            include_bytes!(concat!("../fixtures/", $name)).as_slice(),
        )
    };
}

const BASIC: (&str, &[u8]) = file!("ve-basic.conf");
const LIGHT: (&str, &[u8]) = file!("ve-light.conf");
const HOWTO: (&str, &[u8]) = file!("ve-howto.conf");
const VSWAP_1G: (&str, &[u8]) = file!("ve-vswap-1024m.conf");
const VSWAP_4G: (&str, &[u8]) = file!("ve-vswap-4g.conf");
const COUNTERS: (&str, &[u8]) = file!("user_beancounters-2.5-ubc.txt");
const VSWAP_COUNTERS: (&str, &[u8]) = file!("user_beancounters-2.5-vswap.txt");
const ALL: [(&str, &[u8]); 7] = [
    BASIC,
    LIGHT,
    HOWTO,
    VSWAP_1G,
    VSWAP_4G,
    COUNTERS,
    VSWAP_COUNTERS,
];

fn converted((_, text): (&str, &[u8])) -> (Container, Conversion, Vec<Warning>) {
    let mut containers = read(text, PageSize::new(PAGE).unwrap());
    assert_eq!(containers.len(), 1);
    let container = containers.remove(0);
    let conversion = convert(&container);
    let warnings = check(&container, &conversion);
    (container, conversion, warnings)
}

fn numbers(ram: u64, swap: u64) -> Option<Numbers> {
    Some(Numbers {
        ram: Bytes(ram),
        swap: Bytes(swap),
    })
}

#[test]
fn every_parameter_of_every_file_is_accounted_for() {
    for file in ALL {
        let (container, conversion, _) = converted(file);
        assert_eq!(container.unread, Vec::<usize>::new(), "{}", file.0);
        let parameters: Vec<Parameter> = conversion
            .parameters
            .iter()
            .map(|row| row.parameter)
            .collect();
        assert_eq!(parameters, TABLE.map(|row| row.parameter), "{}", file.0);
        for row in &conversion.parameters {
            assert_eq!(row.given, container.values.contains_key(&row.parameter));
            assert!(!row.why.is_empty());
            if row.support == Support::None && row.parameter != Parameter::Privvmpages {
                assert_eq!(row.chosen, None, "{} {:?}", file.0, row.parameter);
            }
        }
        // What is chosen for RAM, and added to it, is RAM.
        let of = |setting: &str| -> u64 {
            let chosen = conversion.parameters.iter().filter_map(|row| row.chosen);
            chosen
                .filter(|chosen| chosen.setting == setting)
                .map(|chosen| chosen.value)
                .sum()
        };
        let ram = conversion.numbers.unwrap().ram.get();
        assert_eq!(of("ram") + of("added to ram"), ram, "{}", file.0);
    }
}

#[test]
fn classic_containers_get_what_was_counted_apart_on_top() {
    let (_, basic, warnings) = converted(BASIC);
    assert_eq!(basic.kind, Kind::Classic);
    let apart = 14_790_164 + 2 * 2_703_360 + 2_097_152 + 262_144;
    assert_eq!(basic.numbers, numbers(65536 * PAGE + apart, 4096 * PAGE));
    assert_eq!(basic.low_bytes, Some(Bytes(33792 * PAGE)));
    assert_eq!((basic.pids_max, basic.ptys_max), (Some(240), Some(16)));
    assert_eq!(basic.memlock_bytes, Some(Bytes(2048 * PAGE)));
    // 1720320..2703360 is 983040, and 360 sockets need 921600; all sums of vzctl's own samples are possible.
    assert_eq!(warnings, []);

    let (_, light, warnings) = converted(LIGHT);
    let apart = 1_847_296 + 2 * 262_144 + 237_568 + 196_608;
    assert_eq!(light.numbers, numbers(7680 * PAGE + apart, 768 * PAGE));
    assert_eq!(warnings, []);

    let (_, howto, warnings) = converted(HOWTO);
    assert_eq!(
        howto.low_bytes,
        Some(Bytes(102_400 * PAGE)),
        "2147483647 is no limit"
    );
    assert_eq!(
        howto.numbers.unwrap().swap,
        Bytes((292_912 - 262_144) * PAGE)
    );
    assert_eq!(warnings, []);
}

#[test]
fn swap_is_beside_ram_and_ram_is_not_counted_twice() {
    let (_, one, warnings) = converted(VSWAP_1G);
    assert_eq!(
        (one.kind, one.numbers),
        (Kind::Vswap, numbers(GIB, 2 * GIB))
    );
    assert_eq!(
        (one.low_bytes, one.pids_max, warnings),
        (None, None, vec![])
    );
    // Proxmox's converter writes the sum of both as swap, which is beside RAM there too: 4 GiB for a container of 3.
    let proxmox = one.numbers.unwrap().sum();
    assert_eq!(proxmox, Bytes(3 * GIB));
    let lxc = write::lxc(&one).unwrap();
    assert!(
        lxc.contains("lxc.cgroup2.memory.swap.max = 2147483648\n"),
        "{lxc}"
    );
    assert!(!lxc.contains(&proxmox.get().to_string()));

    let (container, four, _) = converted(VSWAP_4G);
    assert_eq!(four.numbers, numbers(4 * GIB, 8 * GIB));
    assert_eq!(container.values.len(), 2);
    let (_, rented, warnings) = converted(VSWAP_COUNTERS);
    assert_eq!(rented.numbers, numbers(32768 * PAGE, 0));
    let leftover = |parameter| Warning::Leftover { parameter };
    assert_eq!(
        warnings,
        [
            leftover(Parameter::Kmemsize),
            leftover(Parameter::Dcachesize)
        ]
    );
}

#[test]
fn what_was_refused_is_told() {
    let (container, conversion, warnings) = converted(COUNTERS);
    assert_eq!(
        (container.id, conversion.id),
        (Some(210_672), Some(210_672))
    );
    let row = &conversion.parameters[Parameter::Kmemsize as usize];
    assert_eq!(
        (row.held, row.max_held, row.failcnt),
        (Some(7_915_061), Some(7_998_209), Some(987))
    );
    let refused = Warning::Refused {
        parameter: Parameter::Kmemsize,
        failcnt: 987,
    };
    assert!(warnings.contains(&refused), "{warnings:?}");
}

#[test]
fn leftovers_and_impossible_values_are_told() {
    let text = "PHYSPAGES=\"0:1G\"\nSWAPPAGES=\"0:unlimited\"\nPRIVVMPAGES=\"65536:69632\"\nNUMPTY=\"9:8\"\nLOCKEDPAGES=x\n";
    let (_, conversion, warnings) = converted(("leftover", text.as_bytes()));
    assert_eq!(conversion.numbers, numbers(GIB, 0));
    let expected = [
        Warning::Unread { lines: vec![5] },
        Warning::BarrierAboveLimit {
            parameter: Parameter::Numpty,
        },
        Warning::SwapUnlimited,
        Warning::Leftover {
            parameter: Parameter::Privvmpages,
        },
    ];
    assert_eq!(warnings, expected);

    let text = "PRIVVMPAGES=\"100:200\"\nVMGUARPAGES=\"101:unlimited\"\nNUMTCPSOCK=\"400\"\nTCPSNDBUF=\"0:1023999\"\n";
    let (_, _, warnings) = converted(("impossible", text.as_bytes()));
    let sums: Vec<(u64, u64)> = warnings
        .iter()
        .map(|warning| match warning {
            Warning::Impossible { is, least, .. } => (*is, *least),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sums, [(1_023_999, 1_024_000), (100 * PAGE, 101 * PAGE)]);

    let (_, nothing, warnings) = converted(("nothing", b"NUMPROC=\"5\"\n"));
    assert_eq!((nothing.numbers, warnings), (None, vec![Warning::NoLimit]));
    assert_eq!(
        (write::systemd(&nothing), write::lxc(&nothing)),
        (None, None)
    );
}

#[test]
fn a_host_that_sold_too_much() {
    let all: Vec<Conversion> = [BASIC, VSWAP_1G, VSWAP_4G]
        .map(|file| converted(file).1)
        .into();
    let host = |ram: u64, swap: u64| Numbers {
        ram: Bytes(ram * GIB),
        swap: Bytes(swap * GIB),
    };
    assert_eq!(Sold::of(&all, host(8, 12)).oversold(), [""; 0]);
    let tight = Sold::of(&all, host(4, 12)).oversold();
    assert_eq!(tight.len(), 1, "{tight:?}");
    assert!(tight[0].starts_with("oversold: 5.27 GiB of RAM, and the host has 4.00 GiB"));
    assert_eq!(Sold::of(&all, host(0, 1)).oversold().len(), 3);
}

#[test]
fn written_as_a_drop_in() {
    let (_, basic, _) = converted(BASIC);
    let expected = "[Service]\nMemoryMax=290991636\nMemoryHigh=285171804\nMemorySwapMax=16777216\n\
        MemoryLow=138412032\nLimitMEMLOCK=8388608\nTasksMax=240\n";
    assert_eq!(write::systemd(&basic).unwrap(), expected);
}

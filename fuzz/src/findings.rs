//! Findings and the states of strict overcommit, of hosts whose files say anything at all.

use crate::assert_harmless;
use plimsoll_explain::findings::{Account, Before, Scene, find};
use plimsoll_explain::overcommit::overcommit;
use plimsoll_ledger::commit::{self, Promises};
use plimsoll_ledger::{Sample, look};
use plimsoll_proc::found::Found;
use plimsoll_proc::host::{HostSample, Slow};
use plimsoll_proc::meminfo::Meminfo;
use plimsoll_proc::pressure::Pressure;
use plimsoll_proc::state::{Dentries, FreeBlocks, Settings, State, SwapArea};
use plimsoll_proc::text::{number, printable};
use plimsoll_proc::zoneinfo::Zoneinfo;
use plimsoll_proc::{buddyinfo, mountinfo, swaps, sysvipc_shm, vmstat};
use plimsoll_units::{Bytes, PageSize};

/// The bytes are files, with a NUL between each and the next; the earlier look is of the first half of them.
pub fn findings(bytes: &[u8]) {
    let (earlier, _) = bytes.split_at(bytes.len() / 2);
    let now = account(bytes);
    let before = Before {
        account: account(earlier),
        seconds: 1.0,
    };
    for before in [None, Some(&before)] {
        let document = find(&Scene { now: &now, before });
        for finding in &document.findings {
            assert_harmless(&finding.title);
            assert!(!finding.evidence.is_empty() && !finding.remedies.is_empty());
            for evidence in &finding.evidence {
                assert_harmless(&evidence.field);
                assert_harmless(&evidence.value);
            }
            for remedy in &finding.remedies {
                assert_harmless(remedy.command.as_deref().unwrap_or_default());
            }
        }
    }
    if let Some(states) = overcommit(&now) {
        let between = states.promised_bytes.signed_sub(states.deliverable_bytes);
        assert_eq!(states.band_bytes, between);
    }
}

fn account(bytes: &[u8]) -> Account {
    let mut files = bytes.split(|&byte| byte == 0);
    let mut file = || files.next().unwrap_or_default();
    let page = PageSize::new(4096).expect("a power of two");
    let (meminfo, zoneinfo, slabinfo) = (file(), file(), file());
    let segments = sysvipc_shm::parse(file());
    let mode = file();
    let state = State {
        page,
        meminfo: Meminfo::parse(meminfo),
        zoneinfo: Some(Zoneinfo::parse(zoneinfo)),
        free_blocks: buddyinfo::parse(file()).map(free_blocks).collect(),
        vmstat: Some(vmstat::parse(file())),
        pressure: Pressure::parse(file()),
        swaps: Some(swaps::parse(file()).map(swap_area).collect()),
        segments: Some(segments.clone()),
        dentries: Dentries::parse(file()),
        mounts: mountinfo::parse(file()),
        settings: Settings {
            overcommit_memory: number(mode),
            overcommit_ratio: number(file()),
            overcommit_kbytes: number(file()).map(Bytes::from_kib),
            ..Settings::default()
        },
    };
    let slow = Slow::default();
    let look = look(Sample {
        host: HostSample {
            page,
            meminfo: state.meminfo.clone(),
            zoneinfo: state.zoneinfo.clone(),
            slabinfo: Some(slabinfo),
            slow: &slow,
        },
        slab_caches: true,
        found: None,
        processes: None,
        shares: Default::default(),
        promises: commit::policy(mode).map(|policy| Promises {
            policy,
            segments,
            recount: None,
        }),
        groups: None,
        unseen: Vec::new(),
    });
    Account {
        look,
        found: Some(Found::default()),
        state,
    }
}

fn free_blocks(zone: buddyinfo::Zone<'_>) -> FreeBlocks {
    FreeBlocks {
        node: zone.node,
        zone: printable(zone.name).into_owned(),
        blocks: zone.free_blocks,
    }
}

fn swap_area(area: swaps::Area<'_>) -> SwapArea {
    SwapArea {
        path: printable(area.path).into_owned(),
        size: area.size,
        used: area.used,
        priority: area.priority,
    }
}

//! Groups of our own changed, on v1 here and on v2 as far as this host has it: read back by the readers.

use plimsoll_cgroup::mount::{self, Version};
use plimsoll_cgroup::v1;
use plimsoll_cgroup::v1::FreezerState;
use plimsoll_cgroup::write::{self, Group, frozen, kill, site, trigger};
use plimsoll_proc::{Root, mountinfo};
use plimsoll_testkit::{OwnGroup, need};
use plimsoll_units::{Bytes, Limit};
use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::Duration;

const LIMIT: Limit = Limit::Bytes(Bytes::from_mib(64));

fn v1_group(controller: &str, name: &str) -> (OwnGroup, Group) {
    let own = OwnGroup::v1(controller, name).unwrap();
    let group = Group::open(Version::V1, own.path()).unwrap();
    (own, group)
}

fn v2_group(name: &str) -> (OwnGroup, Group) {
    let own = OwnGroup::v2(name).unwrap();
    let group = Group::open(Version::V2, own.path()).unwrap();
    (own, group)
}

/// A process in the group, which sleeps until it is killed.
fn sleeper(own: &OwnGroup) -> Child {
    let child = own.shell("exec sleep 1000").unwrap();
    let pid = child.id();
    let is_in = || {
        own.processes()
            .iter()
            .any(|one| one.as_raw_nonzero().get().cast_unsigned() == pid)
    };
    while !is_in() {
        std::thread::yield_now();
    }
    child
}

fn until(group: &Group, state: FreezerState) {
    while frozen::state(group).unwrap() != Some(state) {
        if state == FreezerState::Frozen {
            frozen::freeze(group).unwrap(); // v1 may want to be told again
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn v1_limits_are_read_back_and_their_order_is_the_kernels() {
    need!(Root, CgroupV1Memory);
    let (own, group) = v1_group("memory", "limits");
    let settings = write::v1::Settings(&group);
    settings.set_limit(LIMIT).unwrap();
    settings.set_soft_limit(LIMIT).unwrap();
    settings.set_swappiness(10).unwrap();
    settings.set_oom_kill_disable(true).unwrap();
    let root = Root::live();
    let dir = root
        .open_dir(own.path().strip_prefix("/").unwrap())
        .unwrap();
    let files = v1::Files(&dir);
    assert_eq!(files.limit().unwrap(), Some(LIMIT));
    assert_eq!(files.soft_limit().unwrap(), Some(LIMIT));
    let control = files.oom_control().unwrap().unwrap();
    assert_eq!(control.get("oom_kill_disable"), Some(1));
    assert_eq!(group.read("memory.swappiness").unwrap(), Some(10u64));
    settings.set_limit(Limit::Max).unwrap();
    assert_eq!(files.limit().unwrap(), Some(Limit::Max));

    if group.has("memory.memsw.limit_in_bytes") {
        settings.set_limit(LIMIT).unwrap();
        settings.set_memsw_limit(LIMIT).unwrap();
        let error = settings.set_limit(Limit::Max).unwrap_err();
        let text = format!(
            "cannot write \"-1\" to {}/memory.limit_in_bytes",
            own.path().display()
        );
        assert_eq!(error.to_string(), text);
        assert_eq!(error.errno(), Some(rustix::io::Errno::INVAL));
        assert_eq!(files.memsw_limit().unwrap(), Some(LIMIT));
    }
}

#[test]
fn v1_page_cache_is_given_back_when_asked() {
    need!(Root, CgroupV1Memory);
    let (own, group) = v1_group("memory", "empty");
    let file = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
    let fill = format!(
        "dd if=/dev/zero of={} bs=1M count=16 conv=fsync",
        file.path().display()
    );
    let status = own
        .shell(&format!("{fill} 2> /dev/null"))
        .unwrap()
        .wait()
        .unwrap();
    assert!(status.success());
    let usage = || {
        group
            .read::<Bytes>("memory.usage_in_bytes")
            .unwrap()
            .unwrap()
    };
    assert!(usage() >= Bytes::from_mib(16), "{}", usage());
    write::v1::Settings(&group).force_empty().unwrap();
    assert!(usage() < Bytes::from_mib(4), "{}", usage());
}

#[test]
fn both_freezers_freeze_and_thaw_and_the_dead_leave() {
    need!(Root, CgroupV1Freezer, CgroupV2);
    for (own, group) in [v1_group("freezer", "frozen"), v2_group("frozen")] {
        let mut child = sleeper(&own);
        assert_eq!(frozen::state(&group).unwrap(), Some(FreezerState::Thawed));
        until(&group, FreezerState::Frozen);
        frozen::thaw(&group).unwrap();
        until(&group, FreezerState::Thawed);
        kill::kill(&group).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert!(!group.enter(child.id()).unwrap(), "it has ended");
    }
}

#[test]
fn all_below_a_group_is_killed_one_by_one_where_there_is_no_one_step() {
    need!(Root, CgroupV1Memory);
    let (own, group) = v1_group("memory", "killed");
    let below = own.child("below").unwrap();
    let mut children = [sleeper(&own), sleeper(&below)];
    assert!(!group.has("cgroup.kill"));
    assert_eq!(kill::kill(&group).unwrap(), kill::KilledBy::Signals(2));
    for child in &mut children {
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
    drop(below);
}

#[test]
fn a_group_is_made_entered_and_removed() {
    need!(Root, CgroupV1Memory);
    let (own, above) = v1_group("memory", "made");
    let mut child = sleeper(&own);
    let made = above.make(OsStr::new("inside")).unwrap();
    assert!(above.make(OsStr::new("inside")).is_err(), "there is one");
    assert!(made.enter(child.id()).unwrap());
    assert_eq!(made.processes().unwrap().seen, [child.id()]);
    assert!(above.holds_only(&[child.id()].into()).unwrap());
    assert!(!above.holds_only(&[1].into()).unwrap());
    assert_eq!(
        made.remove().unwrap_err().errno(),
        Some(rustix::io::Errno::BUSY)
    );
    assert!(above.enter(child.id()).unwrap());
    made.remove().unwrap();
    made.remove().unwrap();
    assert!(made.processes().unwrap().seen.is_empty());
    assert_eq!(made.read::<Bytes>("memory.usage_in_bytes").unwrap(), None);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn own_groups_go_below_our_own() {
    need!(Root, CgroupV1Memory);
    let root = Root::live();
    let mounts = mountinfo::parse(&root.read("proc/self/mountinfo").unwrap());
    let hierarchy = mount::v1(&mounts, "memory").unwrap();
    let site = site::find(&root, &hierarchy, std::process::id()).unwrap();
    let ours = hierarchy.group_of(&root.read("proc/self/cgroup").unwrap(), "memory");
    assert_eq!(site.path(), ours.unwrap());
}

#[test]
fn pressure_triggers_are_armed_on_the_host_and_on_a_group() {
    need!(Root, Psi, CgroupV2);
    let (own, _) = v2_group("pressed");
    let threshold = trigger::Threshold {
        stalled: trigger::Stalled::Some,
        stall: Duration::from_millis(150),
        window: Duration::from_secs(2),
    };
    for file in [
        "/proc/pressure/memory".into(),
        own.path().join("memory.pressure"),
    ] {
        drop(trigger::arm(&file, threshold).unwrap());
        let too_short = trigger::Threshold {
            window: Duration::from_millis(1),
            ..threshold
        };
        let error = trigger::arm(&file, too_short).unwrap_err();
        assert_eq!(error.errno(), Some(rustix::io::Errno::INVAL));
    }
}

//! Who a thread is and what it may do. The order matters: each step needs what a later one may take away.

use super::task::Task;
use crate::error::Error;
use plimsoll_image::proto::CredsEntry;
use plimsoll_proc::process::status::Status;

const CAP_LAST: u64 = 63;
const PR_CAP_AMBIENT: u64 = 47;
const PR_CAP_AMBIENT_RAISE: u64 = 2;
const PR_CAP_AMBIENT_CLEAR_ALL: u64 = 4;
/// `SECBIT_NO_SETUID_FIXUP`: a change of user changes no capability.
const NO_SETUID_FIXUP: u64 = 1 << 2;

/// Gives a thread its credentials; nothing where they are what it has already.
pub(super) fn restore(task: &mut Task, creds: &CredsEntry) -> Result<(), Error> {
    let present = present(task)?;
    if present.as_ref() != Some(&comparable(creds)) {
        change(task, creds, present.as_ref())?;
    }
    if creds.no_new_privs == Some(1) {
        let args = [option(libc::PR_SET_NO_NEW_PRIVS), 1, 0, 0, 0];
        task.call("forbid new privileges to", libc::SYS_prctl, args)?;
    }
    Ok(())
}

fn change(task: &mut Task, creds: &CredsEntry, present: Option<&CredsEntry>) -> Result<(), Error> {
    let what = "set the credentials of";
    let prctl = libc::SYS_prctl;
    task.call(
        what,
        prctl,
        [option(libc::PR_SET_SECUREBITS), NO_SETUID_FIXUP],
    )?;
    let groups: Vec<u8> = creds
        .groups
        .iter()
        .flat_map(|group| group.to_ne_bytes())
        .collect();
    let at = task.argument(&groups)?;
    task.call(what, libc::SYS_setgroups, [creds.groups.len() as u64, at])?;
    let [gid, egid, sgid] = [creds.gid, creds.egid, creds.sgid].map(u64::from);
    task.call(what, libc::SYS_setresgid, [gid, egid, sgid])?;
    task.call(what, libc::SYS_setfsgid, [creds.fsgid.into()])?;
    let [uid, euid, suid] = [creds.uid, creds.euid, creds.suid].map(u64::from);
    task.call(what, libc::SYS_setresuid, [uid, euid, suid])?;
    task.call(what, libc::SYS_setfsuid, [creds.fsuid.into()])?;
    let had = present.map_or(u64::MAX, |present| set(&present.cap_bnd));
    let lost = had & !set(&creds.cap_bnd);
    for capability in (0..=CAP_LAST).filter(|capability| lost >> capability & 1 == 1) {
        task.call(what, prctl, [option(libc::PR_CAPBSET_DROP), capability])?;
    }
    let ambient = set(&creds.cap_amb);
    if ambient != 0 {
        // Ambient capabilities must be inheritable first.
        let full = present.map_or_else(|| creds.cap_prm.clone(), |present| present.cap_prm.clone());
        capset(task, &creds.cap_inh, &full, &full)?;
        task.call(
            what,
            prctl,
            [PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0],
        )?;
        for capability in (0..=CAP_LAST).filter(|capability| ambient >> capability & 1 == 1) {
            task.call(
                what,
                prctl,
                [PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0],
            )?;
        }
    }
    task.call(
        what,
        prctl,
        [option(libc::PR_SET_SECUREBITS), creds.secbits.into()],
    )?;
    capset(task, &creds.cap_inh, &creds.cap_prm, &creds.cap_eff)
}

fn capset(
    task: &mut Task,
    inherited: &[u32],
    permitted: &[u32],
    effective: &[u32],
) -> Result<(), Error> {
    const VERSION_3: u32 = 0x2008_0522;
    let half = |set: &[u32], i: usize| set.get(i).copied().unwrap_or(0);
    let mut words = vec![VERSION_3, 0];
    for i in 0..2 {
        words.extend([half(effective, i), half(permitted, i), half(inherited, i)]);
    }
    let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
    let at = task.argument(&bytes)?;
    task.call("set the capabilities of", libc::SYS_capset, [at, at + 8])?;
    Ok(())
}

fn set(halves: &[u32]) -> u64 {
    let half = |i: usize| u64::from(halves.get(i).copied().unwrap_or(0));
    half(0) | half(1) << 32
}

/// What the task has now.
fn present(task: &mut Task) -> Result<Option<CredsEntry>, Error> {
    let args = [option(libc::PR_GET_SECUREBITS)];
    let bits = task.call("ask for the secure bits of", libc::SYS_prctl, args)?;
    let text = std::fs::read(format!("/proc/{}/status", task.tid.as_raw_pid()));
    let text = text.map_err(|source| Error::file("read", "/proc/PID/status", source))?;
    let status = Status::parse(&text).ok();
    Ok(status.map(|status| comparable(&crate::credentials_of(&text, &status, bits))))
}

fn comparable(creds: &CredsEntry) -> CredsEntry {
    CredsEntry {
        no_new_privs: None,
        lsm_profile: None,
        lsm_sockcreate: None,
        apparmor_data: None,
        ..creds.clone()
    }
}

fn option(option: i32) -> u64 {
    u64::from(option.unsigned_abs())
}

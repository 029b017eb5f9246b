//! `plimsoll explain`: one look or two, and what the rules find in them.

use super::{findings_view, json};
use crate::args::{self, At, Since};
use crate::captured::Captured;
use crate::failure::{Failure, Kind};
use crate::gather::{Gatherer, Wanted};
use crate::terminal::{self, Terminal};
use plimsoll_explain::findings::{Account, Before, Scene, find};
use plimsoll_proc::Root;
use std::time::SystemTime;

/// Explains this host, or a captured one.
pub(crate) fn run(args: &args::Explain) -> Result<(), Failure> {
    let (before, now) = match &args.since {
        None => (None, account(&args.scene)?),
        Some(since) => two(&args.scene, since).map(|(before, now)| (Some(before), now))?,
    };
    let document = find(&Scene {
        now: &now,
        before: before.as_ref(),
    });
    let shown = if args.json {
        json(&document)?
    } else {
        findings_view::view(&document, &Terminal::of_stdout())
    };
    Ok(terminal::print(&shown)?)
}

/// One look.
pub(super) fn account(scene: &args::SceneArgs) -> Result<Account, Failure> {
    match &scene.root {
        Some(path) => of_root(&Captured::open(path, scene.at)?.root),
        None => of_root(&Root::live()),
    }
}

fn of_root(root: &Root) -> Result<Account, Failure> {
    Gatherer::new(root)?.account(&Wanted::for_findings())
}

/// The earlier look and the later one.
fn two(scene: &args::SceneArgs, since: &Since) -> Result<(Before, Account), Failure> {
    let Some(path) = &scene.root else {
        return two_of_this_host(since);
    };
    let now = Captured::open(path, scene.at)?;
    let earlier = match since {
        Since::Ago(ago) => {
            let ago = i64::try_from(ago.as_secs()).unwrap_or(i64::MAX);
            let second = now.unix_s.unwrap_or_default().saturating_sub(ago);
            Captured::open(path, Some(At::Unix(second)))?
        }
        Since::Captured(earlier) => Captured::open(earlier, None)?,
    };
    let before = before(&earlier, now.unix_s)?;
    Ok((before, of_root(&now.root)?))
}

fn two_of_this_host(since: &Since) -> Result<(Before, Account), Failure> {
    let root = Root::live();
    match since {
        Since::Ago(ago) => {
            let account = of_root(&root)?;
            std::thread::sleep(*ago);
            let seconds = ago.as_secs_f64();
            Ok((Before { account, seconds }, of_root(&root)?))
        }
        Since::Captured(earlier) => {
            let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let now_s = since_1970
                .ok()
                .and_then(|since| i64::try_from(since.as_secs()).ok());
            Ok((
                before(&Captured::open(earlier, None)?, now_s)?,
                of_root(&root)?,
            ))
        }
    }
}

fn before(earlier: &Captured, now_s: Option<i64>) -> Result<Before, Failure> {
    let seconds = now_s
        .zip(earlier.unix_s)
        .map(|(now, earlier)| now.saturating_sub(earlier))
        .filter(|seconds| *seconds > 0);
    let seconds = seconds.ok_or_else(|| {
        Failure::message(Kind::Failed, "the earlier look is not known to be earlier")
            .hint("a recording reaches back as far as `plimsoll look --root FILE --at 0` says")
    })?;
    Ok(Before {
        account: of_root(&earlier.root)?,
        seconds: seconds as f64,
    })
}

//! Help, usage errors, completions, man pages.

use crate::program::{plimsoll, run};

#[test]
fn help() {
    insta::assert_snapshot!(run(&["--help"]), @r#"
    exit 0
    Keeps the work on a Linux host alive when memory runs out

    Usage: plimsoll <COMMAND>

    Commands:
      look         Show who owns every page of RAM
      capture      Write down what `look` reads, to look at it later or elsewhere
      record       Keep the last minutes of this host in locked memory, to be read afterwards
      explain      Say what is wrong with this host's memory, with the evidence and what to do
      check        Tell whether processes can be parked, and what would leave memory
      park         Take the memory of living processes out of RAM; all else stays
      resume       Let parked processes run again, and bring their memory back
      parked       Show what is parked
      guard        Answer memory pressure by a ladder, that kills only last, and say why
      run          Run a command that may have so much RAM and so much swap, and no more
      hold         Give something that runs two numbers, RAM and swap
      holds        Show what is held: how much of what, the limits, and how often they were met
      release      End a hold
      image        Look at checkpoint images, verify, convert and compare them
      checkpoint   Write a process tree down, to start it again later
      restore      Start a process tree again that was written down
      criu         Take CRIU's command line, as this program does when it is called `criu`
      completions  Print a completion script for a shell
      man          Write the man pages into a directory
      help         Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Exit codes: 0 done; 1 could not be done, nothing was changed; 2 wrong usage; 3 not permitted;
    4 refused, something stands in the way; 5 a fault inside Plimsoll.
    "#);
}

#[test]
fn help_of_look() {
    insta::assert_snapshot!(run(&["look", "--help"]), @r#"
    exit 0
    Show who owns every page of RAM

    Disjoint owners that sum to all of RAM; what no owner claims is printed as `unattributed`, never
    hidden. A size without a mark is counted by the kernel; `~` is worked out from what the kernel
    shows; `?` is there, but its holder is not known. Without root it shows what it can, and ends with
    what it did not see and what root would add.

    Usage: plimsoll look [OPTIONS] [VIEW]

    Arguments:
      [VIEW]
              What to look at in depth: processes, groups, commit, slab, a process id, or a cgroup's
              path

              processes  who holds anonymous memory
              groups     what each cgroup is charged, its limits, and what it holds that no process in
              it owns
              commit     what the kernel has promised, recomputed from every mapping (reads every smaps)
              slab       the kernel's own caches: how full each is, whether it can be emptied
              PID        one process
              CGROUP     one group, named by its path, which begins with a slash

    Options:
          --explain
              Add one line of plain words for each owner

          --json
              Print one JSON document, schema plimsoll.look/1 (docs/look-json.md); with --watch one a
              line

          --watch[=<SECONDS>]
              Look again every so many seconds until interrupted

          --root <PATH>
              Read a tree that `plimsoll capture` wrote, or a recording of `plimsoll record`, instead of
              this host

          --at <TIME>
              Which moment of the recording: seconds since 1970, or so long before its end (-30s, -2m);
              its last one unless given

          --by <WHAT>
              Add the processes up (with view `processes`)

              Possible values:
              - cgroup: All of one cgroup
              - user:   All of one user
              - tree:   With their descendants

          --pss[=<WHICH>]
              Add each process's proportional share of what it shares; costs about 13 ms a GiB, so big
              processes are passed over and named unless `--pss=all`

              Possible values:
              - cheap: Of processes that cost little
              - all:   Of all, whatever it costs

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      plimsoll look                       the whole of RAM, biggest owner first
      plimsoll look --explain             the same, with a line of plain words for each owner
      plimsoll look processes --by user   who uses how much
      plimsoll look commit                promises, and memory that Committed_AS does not see
      plimsoll look /user.slice           one cgroup
      plimsoll look --watch=1             refresh every second
      plimsoll look --json | jq .host.unattributed_bytes
      plimsoll look --root DIR            the account of a captured host
      plimsoll look --root FILE --at -30s the account of a host half a minute before a recording's end
    "#);
}

#[test]
fn help_of_capture() {
    insta::assert_snapshot!(run(&["capture", "--help"]), @r#"
    exit 0
    Write down what `look` reads, to look at it later or elsewhere

    DIR becomes a tree that `plimsoll look --root DIR` reads to the same account: the memory files of
    /proc and /sys, and what was found about pipes and sockets. It appears complete or not at all. It
    holds command lines, users, paths of mapped files and cgroup names of all processes that you may
    read, the kernel's log and /etc/passwd: look through it before you hand it on. Environments,
    contents of open files and memory are never read. Directories are made 0700, files 0600.

    Usage: plimsoll capture [OPTIONS] <DIR>

    Arguments:
      <DIR>
              A directory that does not exist yet, or is empty

    Options:
          --all-mappings
              Read the mappings of huge processes too: reading them stalls a process for about 13 ms a
              GiB that it has in RAM, so those that it would stall for more than 250 ms are passed over
              and named

          --json
              Print one JSON document, schema plimsoll.capture/1

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      plimsoll capture /var/tmp/full-host
      plimsoll look --root /var/tmp/full-host commit
      tar -C /var/tmp -czf full-host.tar.gz full-host    to send it to somebody you trust
    "#);
}

#[test]
fn a_view_that_there_is_not() {
    insta::assert_snapshot!(run(&["look", "sideways"]), @r#"
    exit 2
    stderr: error: invalid value 'sideways' for '[VIEW]': write processes, groups, commit, slab, a process id, or a cgroup's path that begins with /
    stderr:
    stderr: For more information, try '--help'.
    "#);
}

#[test]
fn options_that_do_not_go_together() {
    insta::assert_snapshot!(run(&["look", "slab", "--by", "user"]), @r#"
    exit 2
    stderr: plimsoll: --by adds processes up
    stderr: hint: plimsoll look processes --by user
    "#);
    insta::assert_snapshot!(run(&["look", "--watch=0"]), @r#"
    exit 2
    stderr: error: invalid value '0' for '--watch[=<SECONDS>]': from 0.1 to 86400 seconds
    stderr:
    stderr: For more information, try '--help'.
    "#);
    insta::assert_snapshot!(run(&["look", "--root", "x", "--watch"]), @r#"
    exit 2
    stderr: error: the argument '--root <PATH>' cannot be used with '--watch[=<SECONDS>]'
    stderr:
    stderr: Usage: plimsoll look --root <PATH> [VIEW]
    stderr:
    stderr: For more information, try '--help'.
    "#);
}

#[test]
fn every_shell_gets_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]);
        assert!(
            script.contains("exit 0") && script.contains("capture"),
            "{script}"
        );
    }
}

#[test]
fn a_man_page_for_every_verb() {
    let dir = tempfile::tempdir().unwrap();
    let status = plimsoll().arg("man").arg(dir.path()).status().unwrap();
    assert!(status.success());
    let page = std::fs::read_to_string(dir.path().join("plimsoll-look.1")).unwrap();
    assert!(page.contains("who owns every page"), "{page}");
    for verb in ["plimsoll.1", "plimsoll-capture.1"] {
        assert!(dir.path().join(verb).exists(), "{verb}");
    }
}

#[test]
fn man_pages_into_nowhere() {
    insta::assert_snapshot!(run(&["man", "/nonexistent"]), @r#"
    exit 1
    stderr: plimsoll: cannot write man pages into /nonexistent: No such file or directory (os error 2)
    "#);
}

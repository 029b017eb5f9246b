//! The views as people see them.

use super::{fixture, in_place};
use crate::args::By;
use crate::terminal::Terminal;
use plimsoll_units::Bytes;

const SCREEN: Terminal = Terminal {
    columns: Some(80),
    rows: None,
    colour: false,
    utf8: true,
};

const NARROW: Terminal = Terminal {
    columns: Some(50),
    utf8: false,
    ..SCREEN
};

#[test]
fn the_host() {
    insta::assert_snapshot!(super::host::view(&fixture::look().host, false, &SCREEN), @r#"
    24.0 GiB of RAM: 11.7 GiB free, 5.97 GiB that the kernel can take back when it
    needs to
    [████████████████████▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓░░······································]
            SIZE  SHARE     OWNER
    ·   11.7 GiB    49%  r  free
    █   6.00 GiB    25%     anonymous
    ▓   5.78 GiB    24%  r  file cache
    ░   ~245 MiB   1.0%     pipe buffers
    ░    200 MiB   0.8%  r  slab nfs_inode_cache
    ░  ?54.0 MiB   0.2%     socket buffers
        17.0 MiB  0.07%     unattributed: nothing names its owner
    ~ inferred   ? holder unknown   r the kernel can take it back
    "#);
}

#[test]
fn the_host_explained_in_ascii_and_narrow() {
    insta::assert_snapshot!(super::host::view(&fixture::look().host, true, &NARROW), @r#"
    24.0 GiB of RAM: 11.7 GiB free, 5.97 GiB that the
    kernel can take back when it needs to
    [############============-.......................]
            SIZE  SHARE     OWNER
    .   11.7 GiB    49%  r  free
                            nobody's: ready to be
                            given out at once
    #   6.00 GiB    25%     anonymous
                            what programs allocated
                            for themselves: heaps,
                            stacks, private copies;
                            only swap can take it from
                            a living process
    =   5.78 GiB    24%  r  file cache
                            file contents kept in RAM;
                            dropped when memory is
                            wanted, once what is dirty
                            has been written
    -   ~245 MiB   1.0%     pipe buffers
                            data written into pipes
                            and not yet read; no
                            kernel counter names it
                            244 MiB python3 (pid 812)
    -    200 MiB   0.8%  r  slab nfs_inode_cache
                            the kernel's objects of
                            one kind
    -  ?54.0 MiB   0.2%     socket buffers
                            data in sockets, sent and
                            not yet received or read;
                            no kernel counter names it
        17.0 MiB  0.07%     unattributed: nothing n...
    ~ inferred   ? holder unknown   r the kernel can
    take it back
    "#);
}

#[test]
fn what_nobody_claims_is_shown_on_the_lowest_screen() {
    let low = Terminal {
        rows: Some(4),
        ..SCREEN
    };
    let shown = super::host::view(&fixture::look().host, true, &low);
    assert!(shown.contains("unattributed"), "{shown}");
    assert!(shown.contains("more"), "{shown}");
}

#[test]
fn files_that_disagree_are_said_to() {
    let mut host = fixture::look().host;
    host.unattributed_bytes = -(3 << 20);
    let shown = super::host::view(&host, false, &SCREEN);
    assert!(shown.contains("-3.00 MiB"), "{shown}");
    assert!(shown.contains("disagree"), "{shown}");
}

#[test]
fn processes_one_by_one() {
    let look = fixture::look();
    insta::assert_snapshot!(super::processes::view(&look.processes, None, &SCREEN), @r#"
    PID  USER      ANON      SWAP       RSS  COMMAND
    812  ada   3.91 GiB  1.00 MiB  3.92 GiB  python3 train.py --epochs 90
    813  ada   1000 MiB  1.00 MiB  1010 MiB  python3 worker.py
      1  root  12.0 MiB  1.00 MiB  22.0 MiB  /sbin/init
               4.89 GiB  3.00 MiB            3 processes
    ANON + SWAP is each process's own; RSS counts shared pages once for every
    process that maps them, so it has no sum.
    "#);
}

#[test]
fn processes_by_user_with_shares() {
    let mut look = fixture::look();
    look.processes[0].pss_bytes = Some(look.processes[0].rss_bytes);
    insta::assert_snapshot!(super::processes::view(&look.processes, Some(By::User), &SCREEN), @r#"
        ANON      SWAP  PSS  PROCESSES  USER
    4.88 GiB  2.00 MiB    -          2  ada
    12.0 MiB  1.00 MiB    -          1  root
    "#);
}

#[test]
fn processes_as_trees() {
    let look = fixture::look();
    insta::assert_snapshot!(super::processes::view(&look.processes, Some(By::Tree), &SCREEN), @r#"
        ANON      SWAP  PROCESSES  TREE
    4.89 GiB  3.00 MiB          3  1 /sbin/init
    4.88 GiB  2.00 MiB          2    812 python3 train.py --epochs 90
    1000 MiB  1.00 MiB          1      813 python3 worker.py
    "#);
}

#[test]
fn groups() {
    let wide = Terminal {
        columns: None,
        ..SCREEN
    };
    insta::assert_snapshot!(super::groups::view(&fixture::look().groups, true, &wide), @r#"
     CHARGED      USER   KERNEL     CACHE  DENTRIES  RAM LIMIT  SWAP LIMIT  UNOWNED  GROUP
    5.18 GiB  4.88 GiB  250 MiB  40.0 MiB  10.0 MiB   8.00 GiB        none  290 MiB  /user.slice/ada
                                                                                     3 removed groups still hold memory that is charged here
    2.00 MiB         -        -         -         -       none        none        -  /old (v1)
    USER      heaps, stacks and shared memory of its processes
    KERNEL    page tables, stacks, sockets, pipes and other kernel memory on its behalf
    CACHE     file contents that it was the first to read or write; dropped when memory is wanted
    DENTRIES  names and inodes of files, and other slab that can be taken back
    UNOWNED   charged to it, but no process in it or below holds it
    A group's figures include those of all groups below it.
    "#);
}

#[test]
fn commit() {
    let account = fixture::look().commit.unwrap();
    insta::assert_snapshot!(super::commit::view(&account, true, &SCREEN), @r#"
    Policy: 0, heuristic: only a single request beyond all of RAM and swap is refused
    3.70 GiB  committed (Committed_AS)
              what the kernel would have to find if every program used all that it
              was promised
    12.0 GiB  limit (CommitLimit)
              only policy 2 (strict) heeds it
    3.67 GiB  recomputed from every mapping
              mappings that carry `ac`, shared memory, and segments charged in full
              size
    34.0 MiB  unexplained; process 1, not read, accounts for at most 34.0 MiB
              the difference: mappings that were not read, and what changed while
              the others were
    1.94 GiB  anonymous memory that Committed_AS does not see
              it lies in mappings without `ac`, made with MAP_NORESERVE

    PID   CHARGED  NOT RESIDENT  UNSEEN ANON  COMMAND
    812  70.0 MiB      60.0 MiB     1.94 GiB  python3
         1.94 GiB in 32 glibc heaps that Committed_AS does not see
    "#);
}

#[test]
fn processes_too_small_to_matter_are_counted() {
    let mut account = fixture::look().commit.unwrap();
    let mut small = account.processes.remove(0);
    small.anon_outside_bytes = Bytes::from_kib(900);
    small.charged_not_resident_bytes = Bytes::from_mib(3); // under a thousandth of what is committed
    account.processes = vec![small.clone(), small];
    let shown = super::commit::view(&account, false, &SCREEN);
    assert!(
        shown.ends_with("2 others, each below 3.79 MiB\n"),
        "{shown}"
    );
}

#[test]
fn the_slab_with_its_objects() {
    insta::assert_snapshot!(super::slab::view(&fixture::look().host, &SCREEN), @r"
        SIZE  IN USE  OBJECTS  OBJECT SIZE     CACHE
     200 MiB     75%   150000     1.02 KiB  r  nfs_inode_cache
    3.00 MiB     20%    40000     1.02 KiB     kmalloc-64
     200 MiB                                   all of the slab
    OBJECTS are those in use, and IN USE their part of all that the cache has room
    for: where it is low, slabs are kept by few objects each.
    r: the kernel can empty it under pressure.
    ");
}

#[test]
fn a_process_with_what_it_maps() {
    let look = fixture::look();
    insta::assert_snapshot!(super::one_process::view(&look.processes[0], &SCREEN), @r"
    PID  USER      ANON      SWAP       RSS  COMMAND
    812  ada   3.91 GiB  1.00 MiB  3.92 GiB  python3 train.py --epochs 90

         RSS       PSS      ANON      SWAP      SPAN  COUNT  MAPPED
    3.91 GiB  3.91 GiB  3.91 GiB  1.00 MiB  3.91 GiB      1  heap (brk)
    ");
}

#[test]
fn a_share_too_small_for_two_decimals_is_not_nought() {
    let mut host = fixture::look().host;
    host.owners[1].bytes = Bytes(4096);
    let shown = super::host::view(&host, false, &SCREEN);
    assert!(shown.contains("<0.01%"), "{shown}");
}

#[test]
fn what_was_not_seen_stands_last() {
    insta::assert_snapshot!(super::unseen(&fixture::look().unseen, &NARROW), @r#"
    Not seen:
      mappings of 1 process: denied; root would show
        them
    "#);
    assert_eq!(super::unseen(&[], &SCREEN), "");
}

#[test]
fn watching_draws_over_what_was_there_without_blanking_the_screen() {
    assert_eq!(in_place("a\nb\n"), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
}

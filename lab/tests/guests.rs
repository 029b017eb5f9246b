//! What goes into a guest and what comes back.

#[cfg(test)]
mod tests {
    use plimsoll_lab::{Guest, Kernel, Stream};
    use plimsoll_testkit::need;
    use plimsoll_units::Bytes;
    use std::path::PathBuf;
    use std::time::Duration;

    /// Every promise of the lab in one boot, since a boot is what costs.
    fn a_command_sees_its_guest_and_we_see_the_command(kernel: &str) {
        let here = tempfile::tempdir().unwrap();
        std::fs::write(here.path().join("odd"), b"\x00\xff\n").unwrap();
        let guest = Guest {
            swap: Some(Bytes::from_mib(64)),
            modules: vec!["zram".to_owned()],
            copy_in: vec![(here.path().to_owned(), "/data".into())],
            copy_out: vec!["/data".into(), "/nowhere".into()],
            ..Guest::new(Kernel::named(kernel).unwrap())
        };
        // More than a frame holds, of bytes that no text has; a pipe that nobody writes to; and an orphan that would keep the guest.
        let script = "
            yes | head -c 200000 > /data/long
            mkfifo /data/pipe
            cat /sys/fs/cgroup/cgroup.controllers /proc/swaps
            [ -r /proc/pressure/memory ] && [ -e /sys/class/zram-control ] && echo ready
            sleep 1000000 &
            echo wrong >&2
            exit 7";
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let outcome = guest.run(&["sh", "-c", script], |stream, bytes| {
            match stream {
                Stream::Stdout => stdout.extend_from_slice(bytes),
                Stream::Stderr => stderr.extend_from_slice(bytes),
            }
            Ok(())
        });
        let mut outcome = outcome.unwrap();

        let stdout = String::from_utf8(stdout).unwrap();
        for expected in ["memory", "/dev/vda", "ready\n"] {
            assert!(stdout.contains(expected), "{expected} in {stdout}");
        }
        assert_eq!(stderr, b"wrong\n");
        assert_eq!(outcome.status, 7);
        assert!(
            outcome.release.starts_with(&format!("{kernel}.")),
            "{}",
            outcome.release
        );
        outcome.files.sort();
        let long = (PathBuf::from("/data/long"), b"y\n".repeat(100_000));
        let odd = (PathBuf::from("/data/odd"), b"\x00\xff\n".to_vec());
        assert!(outcome.files == [long, odd], "the files differ");
        outcome.missing.sort();
        let missing = ["/data/pipe: not a regular file", "/nowhere: "];
        assert_eq!(outcome.missing.len(), missing.len());
        for (said, expected) in outcome.missing.iter().zip(missing) {
            assert!(said.starts_with(expected), "{said}");
        }
    }

    #[test]
    fn on_6_1() {
        need!(Lab);
        a_command_sees_its_guest_and_we_see_the_command("6.1");
    }

    #[test]
    fn on_6_12() {
        need!(Lab);
        a_command_sees_its_guest_and_we_see_the_command("6.12");
    }

    #[test]
    fn a_guest_that_takes_too_long_is_ended() {
        need!(Lab);
        let guest = Guest {
            deadline: Duration::from_millis(500),
            ..Guest::new(Kernel::named("6.1").unwrap())
        };
        let error = guest.run(&["sleep", "1000"], |_, _| Ok(())).unwrap_err();
        assert!(
            format!("{error:#}").contains("the time for the run is up"),
            "{error:#}"
        );
    }
}

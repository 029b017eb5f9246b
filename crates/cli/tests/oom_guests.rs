//! Memory runs out for real, in guests with 6.1 and 6.12, in every way that the fixtures of `crates/explain` show; the reading is made
//! there by `plimsoll explain oom` from the running kernel's log, and here again from the captured text.

mod guests {
    use crate::program::json;
    use plimsoll_lab::{Guest, Kernel};
    use plimsoll_testkit::need;
    use plimsoll_units::Bytes;
    use serde_json::Value;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    #[test]
    fn out_of_memory_on_6_1() {
        need!(Lab);
        out_of_memory("6.1", &[ANY_KERNEL, &[LARGE_PIECE]].concat());
    }

    #[test]
    fn out_of_memory_on_6_12() {
        need!(Lab);
        out_of_memory("6.12", ANY_KERNEL);
    }

    /// What the scene does, the kind that it is, and who is killed first.
    type Way = (&'static str, &'static str, &'static str);

    const ANY_KERNEL: &[Way] = &[
        ("global", "global", "tail"),
        ("group", "memcg_v2", "tail"),
        ("sysrq", "sysrq", "sleep"),
    ];

    /// On 6.12 the same victim mostly runs the whole guest out before a piece can't be had.
    const LARGE_PIECE: Way = ("large-piece", "global", "victim");

    fn out_of_memory(kernel: &str, ways: &[Way]) {
        let out = tempfile::tempdir().unwrap();
        let one_node = Guest {
            memory: Bytes::from_mib(768),
            ..guest(kernel)
        };
        let names: Vec<&str> = ways.iter().map(|(way, ..)| *way).collect();
        run(&one_node, &names, out.path());
        for (way, class, killed) in ways {
            let report = read_twice(out.path(), way);
            assert_eq!(report["class"], *class, "{way}");
            assert_eq!(report["killed"][0]["name"], *killed, "{way}");
            println!("{kernel} {way}: {}", report["headline"]);
            if *way == LARGE_PIECE.0 {
                let zones = report["zones"].as_array().unwrap();
                let shattered = zones.iter().find(|zone| zone["answer"] == "fragmented");
                let free = shattered.unwrap()["free_bytes"].as_u64().unwrap();
                assert!(free > 100 << 20, "{shattered:?}");
            }
        }

        let two_nodes = Guest {
            memory: Bytes::from_mib(512),
            nodes: 2,
            ..guest(kernel)
        };
        run(&two_nodes, &["cpuset", "mempolicy"], out.path());
        let mempolicy = read_twice(out.path(), "mempolicy");
        assert_eq!(mempolicy["class"], "mempolicy");
        let cpuset = read_twice(out.path(), "cpuset");
        assert_eq!(cpuset["class"], "cpuset");
        assert!(
            cpuset["headline"]
                .as_str()
                .unwrap()
                .contains("free on others"),
            "{cpuset}"
        );

        let guest = Guest {
            kernel_arguments: "ignore_loglevel".to_owned(),
            ..guest(kernel)
        };
        let console = guest
            .run_to_panic(&["sh", "/scenes/oom.sh", "panic"])
            .unwrap();
        fs::write(out.path().join("panic.txt"), console).unwrap();
        let panic = read_here(out.path(), "panic");
        assert!(
            panic["panic"].as_str().unwrap().contains("panic_on_oom"),
            "{panic}"
        );
        assert!(
            panic["headline"].as_str().unwrap().contains("panicked"),
            "{panic}"
        );
    }

    fn guest(kernel: &str) -> Guest {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        Guest {
            memory: Bytes::from_mib(256),
            programs: [("plimsoll-cli", "plimsoll"), ("plimsoll-testkit", "victim")]
                .map(|(package, program)| (package.to_owned(), program.to_owned()))
                .to_vec(),
            copy_in: vec![(workspace.join("lab/scenes"), PathBuf::from("/scenes"))],
            copy_out: vec![PathBuf::from("/out")],
            kernel_arguments: "log_buf_len=2M".to_owned(),
            deadline: Duration::from_secs(400),
            ..Guest::new(Kernel::named(kernel).unwrap())
        }
    }

    fn run(guest: &Guest, ways: &[&str], out: &Path) {
        let command = [&["sh", "/scenes/oom.sh"], ways].concat();
        let mut said = Vec::new();
        let outcome = guest.run(&command, |_, bytes| {
            said.extend_from_slice(bytes);
            Ok(())
        });
        let outcome = outcome.unwrap();
        assert_eq!(outcome.status, 0, "{}", String::from_utf8_lossy(&said));
        for (path, contents) in &outcome.files {
            fs::write(out.join(path.file_name().unwrap()), contents).unwrap();
        }
    }

    /// The last report there, which is the same here.
    fn read_twice(out: &Path, way: &str) -> Value {
        let there: Value =
            serde_json::from_slice(&fs::read(out.join(format!("{way}.json"))).unwrap()).unwrap();
        let there = there["reports"].as_array().unwrap().last().unwrap().clone();
        let here = read_here(out, way);
        for part in [
            "class", "headline", "request", "zones", "memory", "group", "tasks", "killed",
            "remedies",
        ] {
            assert_eq!(here[part], there[part], "{way}: {part}");
        }
        assert_eq!(here["quoted"], Value::Array(Vec::new()), "{way}");
        here
    }

    fn read_here(out: &Path, way: &str) -> Value {
        let text = out.join(format!("{way}.txt"));
        let document = json(&["explain", "oom", "--json", text.to_str().unwrap()]);
        assert_eq!(document["schema"], "plimsoll.explain-oom/1");
        document["reports"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()
            .clone()
    }
}

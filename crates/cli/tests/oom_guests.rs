//! Memory runs out for real, in guests with 6.1 and 6.12, in every way that the fixtures of `crates/explain` show; the reading is made
//! there by `plimsoll explain oom` from the running kernel's log, and here again from the captured text.

mod guests {
    use crate::program::json;
    use crate::scenes;
    use plimsoll_lab::Guest;
    use plimsoll_testkit::need;
    use plimsoll_units::Bytes;
    use serde_json::Value;
    use std::fs;
    use std::path::Path;

    #[test]
    fn out_of_memory_on_6_1() {
        need!(Lab);
        out_of_memory("6.1");
    }

    #[test]
    fn out_of_memory_on_6_12() {
        need!(Lab);
        out_of_memory("6.12");
    }

    /// What the scene does, the kind that it is, and who is killed first.
    type Way = (&'static str, &'static str, &'static str);

    const WAYS: [Way; 6] = [
        ("global", "global", "tail"),
        ("group", "memcg_v2", "tail"),
        ("sysrq", "sysrq", "sleep"),
        ("cpuset", "cpuset", "tail"),
        ("mempolicy", "mempolicy", ANYBODY),
        (LARGE_PIECE, "global", "victim"),
    ];

    /// The file that fills the node is no process's, so whoever is biggest goes.
    const ANYBODY: &str = "";

    /// A request beyond order 3 fails before it, and is only told of.
    const LARGE_PIECE: &str = "large-piece";

    fn out_of_memory(kernel: &str) {
        let out = tempfile::tempdir().unwrap();
        let two_nodes = Guest {
            memory: Bytes::from_mib(768),
            nodes: 2,
            ..guest(kernel)
        };
        let names: Vec<&str> = WAYS.iter().map(|(way, ..)| *way).collect();
        let scene = [&["/scenes/oom.sh"], names.as_slice()].concat();
        scenes::play(&two_nodes, &scene).write_below(out.path());
        for (way, class, killed) in &WAYS {
            let report = read_twice(out.path(), way);
            assert_eq!(report["class"], *class, "{way}");
            if *killed != ANYBODY {
                assert_eq!(report["killed"][0]["name"], *killed, "{way}");
            }
            println!("{kernel} {way}: {}", report["headline"]);
            if *way == "cpuset" {
                let headline = report["headline"].as_str().unwrap();
                assert!(headline.contains("free on others"), "{headline}");
            }
            if *way == LARGE_PIECE {
                let failure = first_read_here(out.path(), way);
                assert_eq!(failure["class"], "allocation_failure");
                for (report, order) in [(failure, 10), (report, 3)] {
                    assert_eq!(report["request"]["order"], order);
                    let zones = report["zones"].as_array().unwrap().iter();
                    let shattered = zones.filter(|zone| zone["answer"] == "fragmented");
                    let free = shattered.map(|zone| zone["free_bytes"].as_u64().unwrap());
                    assert!(free.sum::<u64>() > 200 << 20, "{report}");
                }
            }
        }

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
        Guest {
            memory: Bytes::from_mib(256),
            kernel_arguments: "log_buf_len=2M".to_owned(),
            ..scenes::guest(kernel, 400)
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
        all_read_here(out, way).pop().unwrap()
    }

    fn first_read_here(out: &Path, way: &str) -> Value {
        all_read_here(out, way).remove(0)
    }

    fn all_read_here(out: &Path, way: &str) -> Vec<Value> {
        let text = out.join(format!("{way}.txt"));
        let document = json(&["explain", "oom", "--json", text.to_str().unwrap()]);
        assert_eq!(document["schema"], "plimsoll.explain-oom/1");
        document["reports"].as_array().unwrap().clone()
    }
}

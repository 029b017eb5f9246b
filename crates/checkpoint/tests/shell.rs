//! An interactive shell with job control under a pseudoterminal whose other end is in the tree (`script(1)`), a pipeline in its
//! foreground: checkpointed, ended, restored; then the pipeline is interrupted by what is typed, and the shell goes on.

use crate::tree::{PATIENCE, Tree};
use plimsoll_checkpoint::After;
use plimsoll_testkit::{apart, need};
use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

/// What is typed comes from a file that grows, what is shown goes where the tree speaks.
const TERMINAL: &str =
    r#"tail -n +1 -f typed | script -qfc "bash --norc --noprofile --noediting -i" typescript"#;

const PIPELINE: &str = "i=0; while :; do i=$((i+1)); echo turn $i; sleep 0.01; done | tee counted | grep --line-buffered turn\n";

/// The turns that were shown, the first behind the prompt: each once, and in order.
fn turns(tree: &Tree) -> u32 {
    let says = tree.says();
    let number = |line: &String| line.rsplit_once("turn ")?.1.trim_end().parse().ok();
    let shown: Vec<u32> = says.iter().filter_map(number).collect();
    let last = u32::try_from(shown.len()).unwrap();
    assert!(shown.into_iter().eq(1..=last), "{says:?}");
    last
}

fn wait_for(tree: &Tree, what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < PATIENCE, "{:?}", tree.says());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_pipeline_under_a_terminal_goes_on_and_is_interrupted() {
    need!(Root, Program("bash"), Program("script"), Program("tail"));
    apart!();
    let mut typed = None;
    let mut tree = Tree::start_program(&["bash", "-c", TERMINAL], |dir| {
        let mut file = File::create(dir.join("typed")).unwrap();
        file.write_all(PIPELINE.as_bytes()).unwrap();
        typed = Some(file);
    });
    let mut typed = typed.unwrap();
    wait_for(&tree, || turns(&tree) > 3);
    // bash, tail, script, the shell, and the three of its pipeline; the loop may be sleeping.
    assert!(tree.dump(After::End).unwrap().processes >= 7);
    let before = turns(&tree);
    tree.restore().unwrap();
    wait_for(&tree, || turns(&tree) > before + 3);
    typed.write_all(b"\x03").unwrap();
    typed
        .write_all(b"echo answer $((40 + 2)) of $(jobs | wc -l)\n")
        .unwrap();
    let answered = || {
        tree.says()
            .iter()
            .any(|line| line.trim_end().ends_with("answer 42 of 0"))
    };
    wait_for(&tree, answered);
    let counted = std::fs::read_to_string(tree.dir.path().join("counted")).unwrap();
    assert!(counted.lines().count() >= turns(&tree) as usize);
}

#!/bin/sh
# Two programs, one set of images: tests of ZDTM, CRIU's own suite, dumped by one of the two and restored by the other.
#
#   bench/exchange.sh CRIU_TREE PLIMSOLL TEST...
#
# CRIU_TREE is CRIU's source tree, built, its test/zdtm too; PLIMSOLL the binary; a TEST as in test/zdtm/static. Each test checks
# itself. As root; prints a line for each test and direction, and exits with the number of those that failed.
set -u
criu_tree=$(realpath "$1") plimsoll=$(realpath "$2")
shift 2
door=$(mktemp -d)
trap 'rm -r "$door"' EXIT
export CRIU="$criu_tree/criu/criu" PLIMSOLL="$plimsoll"
failed=0
for ours in dump restore; do
    # What zdtm.py takes for CRIU: one action goes to Plimsoll, the others to CRIU.
    printf '#!/bin/sh\n[ "$1" = %s ] && exec "$PLIMSOLL" criu "$@"\nexec "$CRIU" "$@"\n' "$ours" > "$door/criu"
    chmod +x "$door/criu"
    for test in "$@"; do
        if (cd "$criu_tree/test" && ./zdtm.py run -f h -t "zdtm/static/$test" --keep-img never --criu-bin "$door/criu") \
            > "$door/log" 2>&1; then
            echo "$test: $ours by Plimsoll: passed"
        else
            echo "$test: $ours by Plimsoll: FAILED: $(grep -m 1 -E 'FAIL|Error' "$door/log")"
            failed=$((failed + 1))
        fi
    done
done
exit "$failed"

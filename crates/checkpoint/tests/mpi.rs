//! A job of four ranks under Open MPI's `mpirun`, on one host: checkpointed and restored whole.
//!
//! Over shared memory, while `mpirun` and its ranks talk over TCP all the same, and over TCP alone: there ranks close connections to
//! their own ports as they start, which would keep those ports from a restore for a minute if nothing were done about it.

use crate::tree::Tree;
use plimsoll_checkpoint::After;
use plimsoll_testkit::{apart, need};

/// Each rank sends 2 MiB around the ring every turn and checks what it was sent; all of them add up a sum.
const RING: &str = r#"
import os
open("ring.c", "w").write(r"""
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#define COUNT (1 << 18)
static double sent[COUNT], got[COUNT];
static double value(int rank, long turn, long i) { return rank * 1000.0 + turn + i % 7; }
int main(int argc, char **argv)
{
    int rank, ranks, stop = 0;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    int before = (rank + ranks - 1) % ranks;
    for (long turn = 1; !stop; turn++) {
        for (long i = 0; i < COUNT; i++) sent[i] = value(rank, turn, i);
        MPI_Sendrecv(sent, COUNT, MPI_DOUBLE, (rank + 1) % ranks, 0, got, COUNT, MPI_DOUBLE, before, 0,
                     MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        for (long i = 0; i < COUNT; i++)
            if (got[i] != value(before, turn, i)) { printf("rank %d was sent something else\n", rank); MPI_Abort(MPI_COMM_WORLD, 3); }
        long all;
        MPI_Allreduce(&turn, &all, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
        if (all != turn * ranks) { printf("rank %d has another sum\n", rank); MPI_Abort(MPI_COMM_WORLD, 4); }
        if (rank == 0) { printf("turn %ld\n", turn); fflush(stdout); stop = access("ask", F_OK) == 0; }
        MPI_Bcast(&stop, 1, MPI_INT, 0, MPI_COMM_WORLD);
        usleep(5000);
    }
    MPI_Finalize();
    if (rank == 0) unlink("ask");
    return 0;
}
""")
if os.system("mpicc -O2 -o ring ring.c"): raise SystemExit("mpicc")
os.environ.update(TMPDIR=os.getcwd(), OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_btl=open("transports").read(),
    OMPI_MCA_btl_tcp_if_include="lo", OMPI_MCA_oob_tcp_if_include="lo", OMPI_MCA_rmaps_base_oversubscribe="1",
    OMPI_MCA_mpi_yield_when_idle="1")
os.execvp("mpirun", ["mpirun", "-n", "4", "./ring"])
"#;

fn goes_on_over(transports: &str) {
    let mut tree = Tree::start_with(RING, |dir| {
        std::fs::write(dir.join("transports"), transports).unwrap();
    });
    tree.hear(3);
    assert_eq!(tree.dump(After::End).unwrap().processes, 5);
    let said = tree.says().len();
    tree.restore().unwrap();
    let says = tree.hear(said + 3);
    for (i, line) in says.iter().enumerate() {
        assert_eq!(*line, format!("turn {}", i + 1), "{says:?}");
    }
    tree.ends_when_asked();
}

#[test]
fn a_job_goes_on() {
    need!(
        Root,
        Nftables,
        Program("python3"),
        Program("mpicc"),
        Program("mpirun")
    );
    apart!();
    goes_on_over("vader,self");
    goes_on_over("tcp,self");
}

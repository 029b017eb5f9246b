//! Much memory moved by all processors at once, piece by piece.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How long a piece is at most: what was read into its buffer is still in the processor's cache when it is written out of it.
pub(crate) const PIECE_BYTES: usize = 256 << 10;

/// Fewer pieces are not worth a thread.
const FEW: usize = 8;

/// Gives every piece to `work`, with a buffer of [`PIECE_BYTES`], on as many threads as there are processors. The order is
/// nobody's.
///
/// # Errors
/// The first that `work` has; what other threads had begun is ended.
pub(crate) fn each<P: Sync, E: Send>(
    pieces: &[P],
    work: impl Fn(&P, &mut [u8]) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    let take = || -> Result<(), E> {
        let mut buffer = vec![0; PIECE_BYTES];
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(piece, &mut buffer)
                .inspect_err(|_| next.store(pieces.len(), Ordering::Relaxed))?;
        }
        Ok(())
    };
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        let others = if pieces.len() < FEW {
            0
        } else {
            processors - 1
        };
        // One that can't be started is done without.
        let start = || std::thread::Builder::new().spawn_scoped(scope, take);
        let others: Vec<_> = (0..others).map_while(|_| start().ok()).collect();
        let own = take();
        others
            .into_iter()
            .map(|other| {
                other
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .fold(own, Result::and)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn every_piece_is_taken_once() {
        let pieces: Vec<u32> = (0..1000).collect();
        let taken = Mutex::new(Vec::new());
        let done: Result<(), ()> = each(&pieces, |piece, buffer| {
            assert_eq!(buffer.len(), PIECE_BYTES);
            taken.lock().unwrap().push(*piece);
            Ok(())
        });
        assert_eq!(done, Ok(()));
        let mut taken = taken.into_inner().unwrap();
        taken.sort_unstable();
        assert_eq!(taken, pieces);
    }

    #[test]
    fn an_error_ends_it() {
        let pieces: Vec<u32> = (0..1000).collect();
        let done = each(
            &pieces,
            |piece, _| if *piece == 10 { Err("ten") } else { Ok(()) },
        );
        assert_eq!(done, Err("ten"));
    }
}

//! The order in which an image lists open files. CRIU finds the peer of a UNIX socket only among the files that come before it,
//! unless each is the other's.

use plimsoll_image::proto::FileEntry;
use std::collections::BTreeMap;

/// All of them by their numbers, but whoever is connected with a socket that does not know it comes behind that socket.
pub(crate) fn in_order(files: &BTreeMap<u32, FileEntry>) -> Vec<FileEntry> {
    let sockets = files.values().filter_map(|file| file.usk.as_ref());
    let peers: BTreeMap<u32, u32> = sockets.map(|socket| (socket.ino, socket.peer)).collect();
    let mut files: Vec<FileEntry> = files.values().cloned().collect();
    files.sort_by_cached_key(|file| {
        file.usk
            .as_ref()
            .map_or(0, |socket| distance(&peers, socket.ino))
    });
    files
}

/// How many sockets have to come first.
fn distance(peers: &BTreeMap<u32, u32>, from: u32) -> usize {
    let knows = |one: u32| peers.get(&one).copied();
    let one_way = |one: &u32| {
        let peer = knows(*one)?;
        let comes_first = peer != *one && knows(peer).is_some_and(|back| back != *one);
        comes_first.then_some(peer)
    };
    // A ring has no first one.
    let chain = std::iter::successors(Some(from), one_way);
    chain.take(peers.len()).skip(1).count()
}

#[cfg(test)]
mod tests {
    use super::in_order;
    use plimsoll_image::proto::{FileEntry, UnixSkEntry};

    #[test]
    fn a_peer_comes_before_those_that_are_connected_with_it() {
        let socket = |(id, (ino, peer)): (u32, (u32, u32))| {
            let usk = UnixSkEntry {
                ino,
                peer,
                ..UnixSkEntry::default()
            };
            let file = FileEntry {
                id,
                usk: Some(usk),
                ..FileEntry::default()
            };
            (id, file)
        };
        let order = |peers: &[(u32, u32)]| {
            let files = (0..).zip(peers.iter().copied()).map(socket).collect();
            let in_order = in_order(&files).into_iter();
            in_order.map(|file| file.id).collect::<Vec<_>>()
        };
        assert_eq!(order(&[(10, 0), (11, 10), (12, 99)]), [0, 2, 1]);
        assert_eq!(order(&[(10, 11), (11, 12), (12, 0)]), [2, 1, 0]);
        assert_eq!(order(&[(10, 11), (11, 10), (12, 12)]), [0, 1, 2]);
        assert_eq!(order(&[(10, 11), (11, 12), (12, 10)]), [0, 1, 2]);
    }
}

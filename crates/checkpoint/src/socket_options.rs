//! Options that every socket has, both ways. Each row is an option and its field in the images.

use plimsoll_image::proto::SkOptsEntry;
use plimsoll_sys::socket::{number, option, set_number, set_option};
use plimsoll_sys::socket_filter::{self, Instruction};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

const SO_BUF_LOCK: i32 = 72;

type Field<T> = fn(&mut SkOptsEntry) -> &mut Option<T>;

/// Options that are on or off.
const SWITCHES: [(i32, Field<bool>); 8] = [
    (libc::SO_REUSEADDR, |o| &mut o.reuseaddr),
    (libc::SO_REUSEPORT, |o| &mut o.so_reuseport),
    (libc::SO_PASSCRED, |o| &mut o.so_passcred),
    (libc::SO_PASSSEC, |o| &mut o.so_passsec),
    (libc::SO_DONTROUTE, |o| &mut o.so_dontroute),
    (libc::SO_NO_CHECK, |o| &mut o.so_no_check),
    (libc::SO_BROADCAST, |o| &mut o.so_broadcast),
    (libc::SO_KEEPALIVE, |o| &mut o.so_keepalive),
];

/// Options that are numbers.
const NUMBERS: [(i32, Field<u32>); 4] = [
    (libc::SO_PRIORITY, |o| &mut o.so_priority),
    (libc::SO_RCVLOWAT, |o| &mut o.so_rcvlowat),
    (libc::SO_MARK, |o| &mut o.so_mark),
    (libc::SO_OOBINLINE, |o| &mut o.so_oobinline),
];

/// The options of a socket. What its kind does not have is left out.
pub(crate) fn read(socket: BorrowedFd<'_>) -> Result<SkOptsEntry, Errno> {
    let level = libc::SOL_SOCKET;
    let mut all = SkOptsEntry {
        so_sndbuf: number(socket, level, libc::SO_SNDBUF)?.cast_unsigned(),
        so_rcvbuf: number(socket, level, libc::SO_RCVBUF)?.cast_unsigned(),
        so_buf_lock: number(socket, level, SO_BUF_LOCK)
            .ok()
            .map(i32::cast_unsigned),
        ..SkOptsEntry::default()
    };
    let time = |name| -> Result<(u64, u64), Errno> {
        let bytes = option(socket, level, name, 16)?;
        let (words, _) = bytes.as_chunks::<8>();
        let word = |i: usize| words.get(i).map_or(0, |word| u64::from_ne_bytes(*word));
        Ok((word(0), word(1)))
    };
    (all.so_snd_tmo_sec, all.so_snd_tmo_usec) = time(libc::SO_SNDTIMEO)?;
    (all.so_rcv_tmo_sec, all.so_rcv_tmo_usec) = time(libc::SO_RCVTIMEO)?;
    for (name, field) in SWITCHES {
        *field(&mut all) = number(socket, level, name).ok().map(|value| value != 0);
    }
    for (name, field) in NUMBERS {
        *field(&mut all) = number(socket, level, name).ok().map(i32::cast_unsigned);
    }
    all.so_mark = all.so_mark.filter(|mark| *mark != 0);
    let linger = option(socket, level, libc::SO_LINGER, 8)?;
    let (words, _) = linger.as_chunks::<4>();
    if let [on, seconds] = words
        && u32::from_ne_bytes(*on) != 0
    {
        all.so_linger = Some(u32::from_ne_bytes(*seconds));
    }
    let device = option(socket, level, libc::SO_BINDTODEVICE, 16).unwrap_or_default();
    let device: Vec<u8> = device.into_iter().take_while(|byte| *byte != 0).collect();
    all.so_bound_dev = (!device.is_empty()).then_some(device);
    let filter = socket_filter::read(socket)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    all.so_filter = filter.into_iter().map(packed).collect();
    Ok(all)
}

/// An instruction of a filter in one word, its operation uppermost.
fn packed(instruction: Instruction) -> u64 {
    let Instruction { code, jt, jf, k } = instruction;
    u64::from(code) << 48 | u64::from(jt) << 40 | u64::from(jf) << 32 | u64::from(k)
}

fn unpacked(word: u64) -> Instruction {
    let [c0, c1, jt, jf, k @ ..] = word.to_be_bytes();
    Instruction {
        code: u16::from_be_bytes([c0, c1]),
        jt,
        jf,
        k: u32::from_be_bytes(k),
    }
}

/// Gives a socket its options, where they are not what it has already.
pub(crate) fn write(socket: BorrowedFd<'_>, wanted: &SkOptsEntry) -> Result<(), Errno> {
    let level = libc::SOL_SOCKET;
    let mut present = read(socket)?;
    let mut all = wanted.clone();
    let buffers = [
        (libc::SO_SNDBUFFORCE, wanted.so_sndbuf, present.so_sndbuf),
        (libc::SO_RCVBUFFORCE, wanted.so_rcvbuf, present.so_rcvbuf),
    ];
    for (name, value, before) in buffers {
        if value != before {
            // The kernel doubles what it is given.
            set_number(socket, level, name, (value / 2).cast_signed())?;
        }
    }
    if let Some(lock) = wanted.so_buf_lock {
        set_number(socket, level, SO_BUF_LOCK, lock.cast_signed())?;
    }
    for (name, field) in SWITCHES {
        if let Some(value) = *field(&mut all)
            && *field(&mut present) != Some(value)
        {
            set_number(socket, level, name, i32::from(value))?;
        }
    }
    for (name, field) in NUMBERS {
        if let Some(value) = *field(&mut all)
            && *field(&mut present) != Some(value)
        {
            set_number(socket, level, name, value.cast_signed())?;
        }
    }
    let times = [
        (
            libc::SO_SNDTIMEO,
            wanted.so_snd_tmo_sec,
            wanted.so_snd_tmo_usec,
        ),
        (
            libc::SO_RCVTIMEO,
            wanted.so_rcv_tmo_sec,
            wanted.so_rcv_tmo_usec,
        ),
    ];
    for (name, seconds, microseconds) in times {
        if (seconds, microseconds) != (0, 0) {
            let bytes = [seconds.to_ne_bytes(), microseconds.to_ne_bytes()].concat();
            set_option(socket, level, name, &bytes)?;
        }
    }
    if let Some(seconds) = wanted.so_linger {
        let bytes = [1u32.to_ne_bytes(), seconds.to_ne_bytes()].concat();
        set_option(socket, level, libc::SO_LINGER, &bytes)?;
    }
    if let Some(device) = &wanted.so_bound_dev {
        set_option(socket, level, libc::SO_BINDTODEVICE, device)?;
    }
    if !wanted.so_filter.is_empty() {
        let filter: Vec<Instruction> = wanted.so_filter.iter().copied().map(unpacked).collect();
        socket_filter::attach(socket, &filter)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_goes_into_a_word_and_out_of_it() {
        let instruction = Instruction {
            code: 0x15,
            jt: 8,
            jf: 1,
            k: 0x7f00_0001,
        };
        assert_eq!(packed(instruction), 0x0015_0801_7f00_0001);
        assert_eq!(unpacked(packed(instruction)), instruction);
    }
}

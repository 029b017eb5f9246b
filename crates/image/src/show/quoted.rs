//! Quoted-printable text (RFC 2045, 6.7), in which `crit` shows the names of UNIX sockets: they may begin with a zero byte.

/// Lines are broken softly before they reach this length.
const LINE_CHARACTERS: usize = 76;

/// Bytes as quoted-printable text, with line feeds as they are and soft line breaks.
pub(crate) fn quoted_printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut line = 0;
    for (at, byte) in bytes.iter().copied().enumerate() {
        let next = bytes.get(at + 1).copied();
        if byte == b'\n' || (byte == b'\r' && next == Some(b'\n')) {
            text.push(byte.into());
            line = 0;
            continue;
        }
        let ends_line = matches!(next, None | Some(b'\n')) || next == Some(b'\r');
        let quoted = match byte {
            b'=' | 127.. => true,
            b'.' => line == 0 && (ends_line || next == Some(0)),
            b' ' | b'\t' => matches!(next, None | Some(b'\n')),
            b'\r' => false,
            control => control < b' ',
        };
        let length = if quoted { 3 } else { 1 };
        let fits = if quoted {
            line + length < LINE_CHARACTERS
        } else {
            line + length < LINE_CHARACTERS || matches!(next, None | Some(b'\n'))
        };
        if !fits {
            text.push_str("=\n");
            line = 0;
        }
        if quoted {
            text.push_str(&format!("={byte:02X}"));
        } else {
            text.push(byte.into());
        }
        line += length;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values are those of Python's `quopri.encodestring`.
    #[test]
    fn it_looks_as_python_writes_it() {
        for (bytes, expected) in [
            (b"\0/tmp/.X11-unix/X0".as_slice(), "=00/tmp/.X11-unix/X0"),
            (b"/run/a=b", "/run/a=3Db"),
            (b"name ", "name=20"),
            (b"a b\tc", "a b\tc"),
            (b"\xc3\xa9", "=C3=A9"),
            (b".", "=2E"),
            (b"", ""),
        ] {
            assert_eq!(quoted_printable(bytes), expected);
        }
    }

    #[test]
    fn long_names_are_broken_softly() {
        let text = quoted_printable(&[b'x'; 108]);
        assert_eq!(text, format!("{}=\n{}", "x".repeat(75), "x".repeat(33)));
        let text = quoted_printable(&[0; 40]);
        assert_eq!(
            text.lines().next(),
            Some(format!("{}=", "=00".repeat(25)).as_str())
        );
    }
}

//! Text files that people write: with or without a byte order mark.

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::Path;

/// Reads a text file in UTF-8, or in UTF-16 if it begins with a byte order mark. The mark is left
/// out.
///
/// # Errors
/// When the file cannot be read, or is not such a text.
pub fn read(path: &Path) -> Result<String> {
    decode(&fs::read(path)?)
}

/// A file's bytes as text, see [`read`].
pub(crate) fn decode(bytes: &[u8]) -> Result<String> {
    let (little, pairs) = match bytes {
        [0xff, 0xfe, pairs @ ..] => (true, pairs),
        [0xfe, 0xff, pairs @ ..] => (false, pairs),
        text => return utf8(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)),
    };
    ensure!(
        pairs.len().is_multiple_of(2),
        "the file begins as UTF-16, but ends within a character"
    );
    let unit = |pair: &[u8]| {
        let pair = [pair[0], pair[1]];
        if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }
    };
    let units: Vec<u16> = pairs.chunks_exact(2).map(unit).collect();
    String::from_utf16(&units).context("the file begins as UTF-16, but is no such text")
}

fn utf8(bytes: &[u8]) -> Result<String> {
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let before = &bytes[..error.valid_up_to()];
            let line = before.split(|byte| *byte == b'\n').count();
            bail!("line {line} is not UTF-8: a text file is expected, saved as UTF-8")
        }
    };
    ensure!(!text.contains('\0'), "the file has zero bytes: a text file is expected");
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn byte_order_marks_are_no_part_of_the_text() {
        let text = "é\n";
        let with = |mark: &[u8], bytes: Vec<u8>| decode(&[mark, &bytes].concat()).unwrap();
        assert_eq!(decode(text.as_bytes()).unwrap(), text);
        assert_eq!(with(&[0xef, 0xbb, 0xbf], text.into()), text);
        let units = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect();
        assert_eq!(with(&[0xff, 0xfe], units(u16::to_le_bytes)), text);
        assert_eq!(with(&[0xfe, 0xff], units(u16::to_be_bytes)), text);
    }

    #[test]
    fn what_is_no_text_is_refused_with_its_line() {
        for (bytes, expected) in [
            (&b"a\nb\xe9\n"[..], "line 2 is not UTF-8"),
            (b"a\0b", "the file has zero bytes"),
            (b"\xff\xfea", "ends within a character"),
            (b"\xfe\xff\xd8\x00", "is no such text"),
        ] {
            let error = decode(bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}

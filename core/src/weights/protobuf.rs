//! A reader of protocol buffers: it walks a message field by field where it lies.
//!
//! Groups, which the format has dropped long ago, are refused. Nothing recurses by itself: the
//! depth is that of the calls to [`Reader::message`].

use super::bytes::{Bytes, Cursor};
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufReader, Read};
use std::ops::Range;

/// Greatest number of fields that a reader reads. The graph of NASNet-large has a tenth of it. It
/// bounds how much is remembered.
pub(super) const MAX_FIELDS: u64 = 1 << 21;

/// Greatest length of a text, in bytes.
const MAX_TEXT: u64 = 1 << 16;

/// The value of a field.
pub(super) enum Value {
    Varint(u64),
    Fixed32([u8; 4]),
    Fixed64([u8; 8]),
    /// Where bytes, a text or a message lies.
    Span(Range<u64>),
}

/// A position in a file.
pub(super) struct Reader<'a> {
    input: BufReader<Cursor<'a>>,
    at: u64,
    length: u64,
    fields_left: u64,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a Bytes) -> Self {
        Self {
            input: BufReader::new(bytes.cursor()),
            at: 0,
            length: bytes.len(),
            fields_left: MAX_FIELDS,
        }
    }

    /// Allows this many fields more.
    pub fn allow(self, fields: u64) -> Self {
        Self { fields_left: self.fields_left + fields, ..self }
    }

    /// The whole file.
    pub fn everything(&self) -> Range<u64> {
        0..self.length
    }

    /// Gives number and value of every field of the message in `span` to `each`.
    pub fn message(
        &mut self,
        span: Range<u64>,
        each: &mut dyn FnMut(&mut Self, u32, Value) -> Result<()>,
    ) -> Result<()> {
        self.go(span.start)?;
        while self.at < span.end {
            self.fields_left =
                self.fields_left.checked_sub(1).context("more fields than any network has")?;
            let place = self.at;
            let (number, value) =
                self.field(span.end).with_context(|| format!("at byte {place}"))?;
            let after = if let Value::Span(inner) = &value { inner.end } else { self.at };
            each(self, number, value)?;
            self.go(after)?;
        }
        Ok(())
    }

    /// Reads varints from a span, until it ends or `each` returns false.
    pub fn varints(
        &mut self,
        span: Range<u64>,
        mut each: impl FnMut(u64) -> Result<bool>,
    ) -> Result<()> {
        self.go(span.start)?;
        while self.at < span.end {
            let value = self.varint(span.end)?;
            if !each(value)? {
                break;
            }
        }
        Ok(())
    }

    /// The bytes of a span, which lies within the file.
    pub fn bytes(&mut self, span: Range<u64>) -> Result<Vec<u8>> {
        self.go(span.start)?;
        let mut bytes = vec![0; (span.end - span.start) as usize];
        self.input.read_exact(&mut bytes)?;
        self.at = span.end;
        Ok(bytes)
    }

    /// The text in a span, which lies within the file.
    pub fn text(&mut self, span: Range<u64>) -> Result<String> {
        let length = span.end - span.start;
        ensure!(length <= MAX_TEXT, "a name of {length} bytes");
        String::from_utf8(self.bytes(span)?).context("a name that is not UTF-8")
    }

    /// The number and the value of the field that begins here, in a message that ends at `end`.
    fn field(&mut self, end: u64) -> Result<(u32, Value)> {
        let key = self.varint(end)?;
        let number = u32::try_from(key >> 3)
            .ok()
            .filter(|number| (1..1 << 29).contains(number))
            .context("no field has that number")?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint(end)?),
            1 => Value::Fixed64(self.fixed(end)?),
            2 => {
                let length = self.varint(end)?;
                ensure!(
                    length <= end - self.at,
                    "{length} bytes are announced, {} are left",
                    end - self.at
                );
                Value::Span(self.at..self.at + length)
            }
            5 => Value::Fixed32(self.fixed(end)?),
            other => bail!("wire type {other}"),
        };
        Ok((number, value))
    }

    fn varint(&mut self, end: u64) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.fixed(end)?;
            ensure!(shift < 63 || byte <= 1, "a number of more than 64 bits");
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        bail!("a number without end")
    }

    fn fixed<const N: usize>(&mut self, end: u64) -> Result<[u8; N]> {
        ensure!(N as u64 <= end - self.at, "the message ends in the middle of a field");
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn go(&mut self, to: u64) -> Result<()> {
        self.input.seek_relative(to as i64 - self.at as i64)?;
        self.at = to;
        Ok(())
    }
}

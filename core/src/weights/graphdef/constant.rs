//! The value of a constant: a `TensorProto` of `tensorflow/core/framework/tensor.proto`.

use crate::weights::bytes::Bytes;
use crate::weights::protobuf::{Reader, Value};
use anyhow::{Context, Result, bail, ensure};
use std::ops::Range;
use tch::{Kind, Tensor};

/// A `TensorProto` without its values.
pub(super) struct Constant {
    dtype: u64,
    pub shape: Vec<i64>,
    /// Where the values lie as bytes of memory, if they are given so.
    content: Option<Range<u64>>,
    /// The whole message. Values that are given one by one are read from it.
    span: Range<u64>,
}

impl Constant {
    pub fn read(bytes: &Bytes, span: Range<u64>) -> Result<Self> {
        let mut constant = Self { dtype: 0, shape: Vec::new(), content: None, span: span.clone() };
        // Each value may be a field.
        let mut reader = Reader::new(bytes).allow(span.end - span.start);
        reader.message(span, &mut |reader, number, value| {
            match (number, value) {
                (1, Value::Varint(dtype)) => constant.dtype = dtype,
                (2, Value::Span(sizes)) => constant.shape.extend(shape(reader, sizes)?),
                (4, Value::Span(content)) if !content.is_empty() => {
                    constant.content = Some(content);
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(constant)
    }

    pub fn tensor(&self, bytes: &Bytes) -> Result<Tensor> {
        // The numbers are those of `types.proto`; `field` is the field of `TensorProto` that holds
        // values one by one.
        let (kind, size, field) = match self.dtype {
            1 => (Kind::Float, 4, 5),
            2 => (Kind::Double, 8, 6),
            14 => (Kind::BFloat16, 2, 13),
            19 => (Kind::Half, 2, 13),
            other => bail!(
                "it has TensorFlow's type {other}; float (1), double (2), bfloat16 (14) or half \
                 (19) is expected"
            ),
        };
        let count = self.shape.iter().product::<i64>() as usize * size;
        let values = match &self.content {
            Some(content) => {
                let found = content.end - content.start;
                ensure!(
                    found == count as u64,
                    "it has {found} bytes of values, {count} are expected"
                );
                bytes.read(content.clone())?
            }
            None => self.values(bytes, field, size, count)?.into(),
        };
        ensure!(
            values.len() == count,
            "it has {} bytes of values, {count} are expected",
            values.len()
        );
        Ok(Tensor::f_from_data_size(&values, &self.shape, kind)?)
    }

    /// The bytes in memory of values that are given one by one: `count` bytes, `size` for a value.
    /// Values that are left out at the end equal the last one; without any, all are zero.
    fn values(&self, bytes: &Bytes, field: u32, size: usize, count: usize) -> Result<Vec<u8>> {
        let mut values: Vec<u8> = Vec::new();
        let mut reader = Reader::new(bytes).allow(count as u64);
        reader.message(self.span.clone(), &mut |reader, number, value| {
            if number != field {
                return Ok(());
            }
            match value {
                Value::Varint(half) if size == 2 => values.extend(half_bits(half)?),
                Value::Fixed32(float) if size == 4 => values.extend(float),
                Value::Fixed64(double) if size == 8 => values.extend(double),
                Value::Span(packed) if size == 2 => reader.varints(packed, |half| {
                    values.extend(half_bits(half)?);
                    Ok(values.len() <= count)
                })?,
                Value::Span(packed) => {
                    ensure!(
                        packed.end - packed.start <= count as u64,
                        "more values than its shape has room for"
                    );
                    values.extend(reader.bytes(packed)?);
                }
                _ => bail!("its values are not of its type"),
            }
            ensure!(values.len() <= count, "more values than its shape has room for");
            Ok(())
        })?;
        if values.is_empty() {
            values.resize(count, 0);
        }
        ensure!(values.len().is_multiple_of(size), "its values end in the middle of one");
        while values.len() < count {
            values.extend_from_within(values.len() - size..);
        }
        Ok(values)
    }
}

fn half_bits(value: u64) -> Result<[u8; 2]> {
    Ok(u16::try_from(value).ok().context("a half has 16 bits")?.to_le_bytes())
}

/// The sizes of a `TensorShapeProto`.
fn shape(reader: &mut Reader, span: Range<u64>) -> Result<Vec<i64>> {
    let mut sizes = Vec::new();
    reader.message(span, &mut |reader, number, value| {
        if let (2, Value::Span(dimension)) = (number, value) {
            let mut size = 0; // a size of zero is not written
            reader.message(dimension, &mut |_, number, value| {
                if let (1, Value::Varint(value)) = (number, value) {
                    size = value as i64;
                }
                Ok(())
            })?;
            ensure!(sizes.len() < 16, "a shape of more than 16 axes");
            sizes.push(size);
        }
        Ok(())
    })?;
    Ok(sizes)
}

//! Conversion of rows to Arrow and back.

use anyhow::{Context, Result};
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, ListArray, PrimitiveArray, RecordBatch, StringArray,
};
use arrow_schema::{DataType, Field, Schema};
use std::sync::Arc;

/// A type whose values are rows of a table with named columns.
pub trait Row: Sized + Clone {
    /// The columns' names and types.
    fn fields() -> Vec<Field>;
    /// The columns of some rows.
    fn columns(rows: &[Self]) -> Vec<ArrayRef>;
    /// The rows of a batch. Columns are found by name.
    ///
    /// # Errors
    /// When a column is missing or of another type, or lacks a value.
    fn read(batch: &RecordBatch) -> Result<Vec<Self>>;
    /// The columns in which another row differs, without times, as `column: this, that`.
    fn differences(&self, other: &Self) -> Vec<String>;

    /// Rows as one batch.
    ///
    /// # Errors
    /// When Arrow refuses the columns.
    fn batch(rows: &[Self]) -> Result<RecordBatch> {
        Ok(RecordBatch::try_new(Arc::new(Schema::new(Self::fields())), Self::columns(rows))?)
    }
}

/// Defines a struct and its columns: each field is a column of the same name.
macro_rules! row {
    ($(#[$about:meta])* $name:ident { $( $(#[$doc:meta])* $field:ident: $type:ty, )+ }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $( $(#[$doc])* pub $field: $type, )+ }

        impl $crate::store::Row for $name {
            fn fields() -> Vec<arrow_schema::Field> {
                vec![$( arrow_schema::Field::new(
                    stringify!($field),
                    <$type as $crate::store::row::Value>::data_type(),
                    <$type as $crate::store::row::Value>::NULLABLE,
                ) ),+]
            }

            fn columns(rows: &[Self]) -> Vec<arrow_array::ArrayRef> {
                vec![$( <$type as $crate::store::row::Value>::array(rows.iter().map(|row| row.$field.clone())) ),+]
            }

            fn read(batch: &arrow_array::RecordBatch) -> anyhow::Result<Vec<Self>> {
                $( let $field = $crate::store::row::column::<$type>(batch, stringify!($field))?; )+
                (0..batch.num_rows())
                    .map(|n| Ok(Self { $( $field: $crate::store::row::value($field, n, stringify!($field))?, )+ }))
                    .collect()
            }

            fn differences(&self, other: &Self) -> Vec<String> {
                let all = [$( (
                    stringify!($field),
                    format!("{:?}", self.$field),
                    format!("{:?}", other.$field),
                ) ),+];
                all.into_iter()
                    .filter(|(name, this, that)| *name != $crate::store::row::TIME && this != that)
                    .map(|(name, this, that)| format!("{name}: {this}, {that}"))
                    .collect()
            }
        }
    };
}
pub(super) use row;

/// The column of times, which differ between computations.
pub(super) const TIME: &str = "milliseconds";

/// A type that can be a column.
pub(super) trait Value: Sized {
    const NULLABLE: bool = false;
    fn data_type() -> DataType;
    fn array(values: impl Iterator<Item = Self>) -> ArrayRef;
    fn get(array: &dyn Array, row: usize) -> Option<Self>;
}

impl Value for String {
    fn data_type() -> DataType {
        DataType::Utf8
    }

    fn array(values: impl Iterator<Item = Self>) -> ArrayRef {
        Arc::new(values.map(Some).collect::<StringArray>())
    }

    fn get(array: &dyn Array, row: usize) -> Option<Self> {
        let array = array.as_any().downcast_ref::<StringArray>()?;
        (!array.is_null(row)).then(|| array.value(row).to_owned())
    }
}

impl Value for Option<String> {
    const NULLABLE: bool = true;

    fn data_type() -> DataType {
        DataType::Utf8
    }

    fn array(values: impl Iterator<Item = Self>) -> ArrayRef {
        Arc::new(values.collect::<StringArray>())
    }

    fn get(array: &dyn Array, row: usize) -> Option<Self> {
        let array = array.as_any().downcast_ref::<StringArray>()?;
        Some((!array.is_null(row)).then(|| array.value(row).to_owned()))
    }
}

/// Implements [`Value`] for a type with an Arrow array of its own, and for its option.
macro_rules! plain {
    ($type:ty, $data:expr, $array:ty) => {
        impl Value for $type {
            fn data_type() -> DataType {
                $data
            }

            fn array(values: impl Iterator<Item = Self>) -> ArrayRef {
                Arc::new(values.map(Some).collect::<$array>())
            }

            fn get(array: &dyn Array, row: usize) -> Option<Self> {
                let array = array.as_any().downcast_ref::<$array>()?;
                (!array.is_null(row)).then(|| array.value(row).into())
            }
        }

        impl Value for Option<$type> {
            const NULLABLE: bool = true;

            fn data_type() -> DataType {
                $data
            }

            fn array(values: impl Iterator<Item = Self>) -> ArrayRef {
                Arc::new(values.collect::<$array>())
            }

            fn get(array: &dyn Array, row: usize) -> Option<Self> {
                if array.is_null(row) { Some(None) } else { <$type>::get(array, row).map(Some) }
            }
        }
    };
}

plain!(i64, DataType::Int64, PrimitiveArray<Int64Type>);
plain!(f64, DataType::Float64, PrimitiveArray<Float64Type>);
plain!(bool, DataType::Boolean, BooleanArray);

/// Implements [`Value`] for lists of a type.
macro_rules! list {
    ($type:ty, $arrow:ty) => {
        impl Value for Vec<$type> {
            fn data_type() -> DataType {
                DataType::new_list(<$type>::data_type(), true)
            }

            fn array(values: impl Iterator<Item = Self>) -> ArrayRef {
                let lists = values.map(|list| Some(list.into_iter().map(Some).collect::<Vec<_>>()));
                Arc::new(ListArray::from_iter_primitive::<$arrow, _, _>(lists))
            }

            fn get(array: &dyn Array, row: usize) -> Option<Self> {
                let array = array.as_any().downcast_ref::<ListArray>()?;
                let list = (!array.is_null(row)).then(|| array.value(row))?;
                (0..list.len()).map(|n| <$type>::get(list.as_ref(), n)).collect()
            }
        }
    };
}

list!(f64, Float64Type);
list!(i64, Int64Type);

/// A column of a batch.
pub(super) fn column<'a, V: Value>(batch: &'a RecordBatch, name: &str) -> Result<&'a dyn Array> {
    let array = batch.column_by_name(name).with_context(|| format!("no column `{name}`"))?;
    let expected = V::data_type();
    anyhow::ensure!(
        *array.data_type() == expected,
        "column `{name}` is of type {}, expected {expected}",
        array.data_type()
    );
    Ok(array.as_ref())
}

/// A value of a column.
pub(super) fn value<V: Value>(array: &dyn Array, row: usize, name: &str) -> Result<V> {
    V::get(array, row).with_context(|| format!("column `{name}`, row {row}: no value"))
}

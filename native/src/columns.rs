//! Columns under construction. Each grows to the index at which a value is put; what was left out before it is null.

use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{ArrayRef, BooleanArray, ListArray, MapArray, PrimitiveArray, StringArray, StructArray};
use arrow_buffer::{BooleanBufferBuilder, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType};

use crate::plan::{Field, Struct, Type};
use crate::scan::{Bad, Outcome};

/// Values of one width.
#[derive(Debug)]
pub struct Fixed<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    nulls: NullBufferBuilder,
}

impl<T: ArrowPrimitiveType> Fixed<T> {
    fn new() -> Self {
        Self { values: Vec::new(), nulls: NullBufferBuilder::new(0) }
    }

    fn pad(&mut self, to: usize) {
        if self.values.len() < to {
            self.nulls.append_n_nulls(to - self.values.len());
            self.values.resize(to, T::Native::default());
        }
    }

    /// The value at that index.
    #[inline]
    pub fn put(&mut self, at: usize, value: T::Native) {
        self.pad(at);
        self.values.push(value);
        self.nulls.append_non_null();
    }

    fn truncate(&mut self, to: usize) {
        if self.values.len() > to {
            self.values.truncate(to);
            self.nulls.truncate(to);
        }
    }

    fn finish(mut self, length: usize, kind: DataType) -> ArrayRef {
        self.pad(length);
        self.values.shrink_to_fit();
        let values = ScalarBuffer::from(self.values);
        Arc::new(PrimitiveArray::<T>::new(values, self.nulls.build()).with_data_type(kind))
    }
}

/// true and false.
#[derive(Debug)]
pub struct Bools {
    values: BooleanBufferBuilder,
    nulls: NullBufferBuilder,
}

impl Bools {
    fn pad(&mut self, to: usize) {
        let missing = to.saturating_sub(self.values.len());
        if missing > 0 {
            self.values.append_n(missing, false);
            self.nulls.append_n_nulls(missing);
        }
    }

    /// The value at that index.
    #[inline]
    pub fn put(&mut self, at: usize, value: bool) {
        self.pad(at);
        self.values.append(value);
        self.nulls.append_non_null();
    }
}

/// Texts, also those of json columns.
#[derive(Debug)]
pub struct Texts {
    /// The bytes of all texts; whoever writes here calls `end` next.
    pub data: Vec<u8>,
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl Texts {
    /// No texts.
    #[must_use]
    pub fn new() -> Self {
        Self { data: Vec::new(), offsets: vec![0], nulls: NullBufferBuilder::new(0) }
    }

    /// How many there are.
    fn count(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The place of text number `at` in `data`.
    #[must_use]
    pub fn span(&self, at: usize) -> (usize, usize) {
        let place = |offset: i32| usize::try_from(offset).unwrap_or(0);
        (place(self.offsets[at]), place(self.offsets[at + 1]))
    }

    fn last(&self) -> i32 {
        self.offsets.last().copied().unwrap_or(0)
    }

    fn pad(&mut self, to: usize) {
        let missing = to.saturating_sub(self.count());
        if missing > 0 {
            self.offsets.resize(to + 1, self.last());
            self.nulls.append_n_nulls(missing);
        }
    }

    /// What was written to `data` is the text at that index.
    #[inline]
    pub fn end(&mut self, at: usize) -> Outcome {
        self.pad(at);
        self.offsets.push(i32::try_from(self.data.len()).map_err(|_| Bad::Block)?);
        self.nulls.append_non_null();
        Ok(())
    }

    /// What was written to `data` since the last text is no text.
    pub fn forget(&mut self) {
        self.data.truncate(usize::try_from(self.last()).unwrap_or(0));
    }

    /// The text at that index.
    #[inline]
    pub fn put(&mut self, at: usize, text: &[u8]) -> Outcome {
        self.data.extend_from_slice(text);
        self.end(at)
    }

    fn truncate(&mut self, to: usize) {
        if self.count() > to {
            self.offsets.truncate(to + 1);
            self.nulls.truncate(to);
        }
        self.forget();
    }

    fn array(mut self, length: usize) -> Result<StringArray, ArrowError> {
        self.pad(length);
        self.data.shrink_to_fit();
        self.offsets.shrink_to_fit();
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        StringArray::try_new(offsets, self.data.into(), self.nulls.build())
    }

    /// The Arrow array of `length` texts.
    pub fn finish(self, length: usize) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(self.array(length)?))
    }
}

impl Default for Texts {
    fn default() -> Self {
        Self::new()
    }
}

/// Where lists or maps begin and end among their elements.
#[derive(Debug)]
pub struct Spans {
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
    /// Elements so far.
    pub count: usize,
}

impl Spans {
    fn new() -> Self {
        Self { offsets: vec![0], nulls: NullBufferBuilder::new(0), count: 0 }
    }

    fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Lists before that index which were left out are null.
    pub fn pad(&mut self, to: usize) {
        let missing = to.saturating_sub(self.len());
        if missing > 0 {
            self.offsets.resize(to + 1, self.offsets.last().copied().unwrap_or(0));
            self.nulls.append_n_nulls(missing);
        }
    }

    /// The elements since the last list are the list at that index; `pad` was called before the first of them.
    pub fn end(&mut self) -> Outcome {
        self.offsets.push(i32::try_from(self.count).map_err(|_| Bad::Block)?);
        self.nulls.append_non_null();
        Ok(())
    }

    fn truncate(&mut self, to: usize) {
        if self.len() > to {
            self.offsets.truncate(to + 1);
            self.nulls.truncate(to);
        }
        self.count = usize::try_from(self.offsets.last().copied().unwrap_or(0)).unwrap_or(0);
    }
}

/// Lists and their elements.
#[derive(Debug)]
pub struct Lists<'p> {
    /// Which elements are whose.
    pub spans: Spans,
    /// The elements.
    pub elements: Node<'p>,
}

/// Maps, their keys and values.
#[derive(Debug)]
pub struct Maps<'p> {
    /// Which entries are whose.
    pub spans: Spans,
    /// As many as entries.
    pub keys: Texts,
    /// As many as entries.
    pub values: Node<'p>,
}

/// Objects and their members.
#[derive(Debug)]
pub struct Objects<'p> {
    /// What they may have.
    pub plan: &'p Struct,
    /// One for each field.
    pub members: Vec<Member<'p>>,
    nulls: NullBufferBuilder,
    /// Which member an object began with.
    pub first: usize,
}

/// A member's column.
#[derive(Debug)]
pub struct Member<'p> {
    /// Its name and type.
    pub plan: &'p Field,
    /// Its values.
    pub node: Node<'p>,
    /// Which member followed it the last time.
    pub next: usize,
}

impl<'p> Objects<'p> {
    /// No objects.
    #[must_use]
    pub fn new(plan: &'p Struct) -> Self {
        let members = plan.fields.iter().enumerate().map(|(at, field)| Member {
            plan: field,
            node: Node::new(&field.kind),
            next: at + 1,
        });
        Self { plan, members: members.collect(), nulls: NullBufferBuilder::new(0), first: 0 }
    }

    fn pad(&mut self, to: usize) {
        if self.nulls.len() < to {
            self.nulls.append_n_nulls(to - self.nulls.len());
        }
    }

    /// There is an object at that index.
    pub fn end(&mut self, at: usize) {
        self.pad(at);
        self.nulls.append_non_null();
    }

    /// Only the first objects stay.
    pub fn truncate(&mut self, to: usize) {
        if self.nulls.len() > to {
            self.nulls.truncate(to);
        }
        for member in &mut self.members {
            member.node.truncate(to);
        }
    }

    /// The members' arrays.
    pub fn columns(members: Vec<Member<'p>>, length: usize) -> Result<Vec<ArrayRef>, ArrowError> {
        members.into_iter().map(|member| member.node.finish(length, &member.plan.kind)).collect()
    }
}

/// A column of any type.
#[derive(Debug)]
pub enum Node<'p> {
    /// `bool`
    Bool(Bools),
    /// `int64`
    Int(Fixed<Int64Type>),
    /// `float64`
    Float(Fixed<Float64Type>),
    /// `string`
    Text(Texts),
    /// `json`
    Json(Texts),
    /// `date`
    Date(Fixed<Date32Type>),
    /// `timestamp`
    Time(Fixed<TimestampMicrosecondType>),
    /// `timestamp(unit)`
    Epoch(Fixed<TimestampMicrosecondType>, i64),
    /// `decimal(precision,scale)`
    Decimal(Fixed<Decimal128Type>, i64, i64),
    /// `list<>`
    List(Box<Lists<'p>>),
    /// `map<>`
    Map(Box<Maps<'p>>),
    /// `struct<>`
    Struct(Box<Objects<'p>>),
}

impl<'p> Node<'p> {
    fn new(kind: &'p Type) -> Self {
        match kind {
            Type::Bool => Self::Bool(Bools { values: BooleanBufferBuilder::new(0), nulls: NullBufferBuilder::new(0) }),
            Type::Int => Self::Int(Fixed::new()),
            Type::Float => Self::Float(Fixed::new()),
            Type::Text => Self::Text(Texts::new()),
            Type::Json => Self::Json(Texts::new()),
            Type::Date => Self::Date(Fixed::new()),
            Type::Time => Self::Time(Fixed::new()),
            Type::Epoch(unit) => Self::Epoch(Fixed::new(), *unit),
            Type::Decimal { precision, scale } => Self::Decimal(Fixed::new(), (*precision).into(), (*scale).into()),
            Type::List(element) => Self::List(Box::new(Lists { spans: Spans::new(), elements: Self::new(element) })),
            Type::Map(value) => {
                Self::Map(Box::new(Maps { spans: Spans::new(), keys: Texts::new(), values: Self::new(value) }))
            }
            Type::Struct(members) => Self::Struct(Box::new(Objects::new(members))),
        }
    }

    /// Its values have places of their own.
    #[inline]
    #[must_use]
    pub fn nested(&self) -> bool {
        matches!(self, Self::List(_) | Self::Map(_) | Self::Struct(_))
    }

    /// How many values were put.
    #[inline]
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Bool(bools) => bools.values.len(),
            Self::Int(ints) => ints.values.len(),
            Self::Float(floats) => floats.values.len(),
            Self::Text(texts) | Self::Json(texts) => texts.count(),
            Self::Date(dates) => dates.values.len(),
            Self::Time(instants) | Self::Epoch(instants, _) => instants.values.len(),
            Self::Decimal(decimals, _, _) => decimals.values.len(),
            Self::List(lists) => lists.spans.len(),
            Self::Map(maps) => maps.spans.len(),
            Self::Struct(objects) => objects.nulls.len(),
        }
    }

    /// Nulls up to that length.
    pub fn pad(&mut self, to: usize) {
        match self {
            Self::Bool(bools) => bools.pad(to),
            Self::Int(ints) => ints.pad(to),
            Self::Float(floats) => floats.pad(to),
            Self::Text(texts) | Self::Json(texts) => texts.pad(to),
            Self::Date(dates) => dates.pad(to),
            Self::Time(instants) | Self::Epoch(instants, _) => instants.pad(to),
            Self::Decimal(decimals, _, _) => decimals.pad(to),
            Self::List(lists) => lists.spans.pad(to),
            Self::Map(maps) => maps.spans.pad(to),
            Self::Struct(objects) => objects.pad(to),
        }
    }

    /// Only the first values stay.
    pub fn truncate(&mut self, to: usize) {
        match self {
            Self::Bool(bools) => {
                if bools.values.len() > to {
                    bools.values.truncate(to);
                    bools.nulls.truncate(to);
                }
            }
            Self::Int(ints) => ints.truncate(to),
            Self::Float(floats) => floats.truncate(to),
            Self::Text(texts) | Self::Json(texts) => texts.truncate(to),
            Self::Date(dates) => dates.truncate(to),
            Self::Time(instants) | Self::Epoch(instants, _) => instants.truncate(to),
            Self::Decimal(decimals, _, _) => decimals.truncate(to),
            Self::List(lists) => {
                lists.spans.truncate(to);
                lists.elements.truncate(lists.spans.count);
            }
            Self::Map(maps) => {
                maps.spans.truncate(to);
                maps.keys.truncate(maps.spans.count);
                maps.values.truncate(maps.spans.count);
            }
            Self::Struct(objects) => objects.truncate(to),
        }
    }

    fn finish(self, length: usize, kind: &Type) -> Result<ArrayRef, ArrowError> {
        let arrow = kind.arrow();
        Ok(match (self, kind, &arrow) {
            (Self::Bool(mut bools), ..) => {
                bools.pad(length);
                Arc::new(BooleanArray::new(bools.values.finish(), bools.nulls.build()))
            }
            (Self::Int(ints), ..) => ints.finish(length, arrow),
            (Self::Float(floats), ..) => floats.finish(length, arrow),
            (Self::Text(texts) | Self::Json(texts), ..) => texts.finish(length)?,
            (Self::Date(dates), ..) => dates.finish(length, arrow),
            (Self::Time(instants) | Self::Epoch(instants, _), ..) => instants.finish(length, arrow),
            (Self::Decimal(decimals, _, _), ..) => decimals.finish(length, arrow),
            (Self::List(mut lists), Type::List(element), DataType::List(field)) => {
                lists.spans.pad(length);
                let elements = lists.elements.finish(lists.spans.count, element)?;
                let offsets = OffsetBuffer::new(ScalarBuffer::from(lists.spans.offsets));
                let nulls = lists.spans.nulls.build();
                Arc::new(ListArray::try_new(field.clone(), offsets, elements, nulls)?)
            }
            (Self::Map(mut maps), Type::Map(value), DataType::Map(field, _)) => {
                maps.spans.pad(length);
                let DataType::Struct(fields) = field.data_type() else {
                    return Err(ArrowError::SchemaError("a map's entries are structs".to_owned()));
                };
                let count = maps.spans.count;
                let columns = vec![maps.keys.finish(count)?, maps.values.finish(count, value)?];
                let entries = StructArray::try_new_with_length(fields.clone(), columns, None, count)?;
                let offsets = OffsetBuffer::new(ScalarBuffer::from(maps.spans.offsets));
                let nulls = maps.spans.nulls.build();
                Arc::new(MapArray::try_new(field.clone(), offsets, entries, nulls, false)?)
            }
            (Self::Struct(mut objects), Type::Struct(_), DataType::Struct(fields)) => {
                objects.pad(length);
                let columns = Objects::columns(objects.members, length)?;
                let nulls = objects.nulls.build();
                Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, length)?)
            }
            _ => return Err(ArrowError::SchemaError("a column has its plan's type".to_owned())),
        })
    }
}

//! Columns under construction. Each grows to the index at which a value is put; what was left out before it is null.

use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{ArrayRef, BooleanArray, ListArray, MapArray, PrimitiveArray, StringArray, StructArray};
use arrow_buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType};

use crate::plan::{Field, Struct, Type};
use crate::scan::{Bad, Outcome};

/// What a column took in the last block, to have room for as much in the next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    values: usize,
    bytes: usize,
}

/// The sizes of a table's columns, in the order of the walk over its types.
pub type Sizes<'s> = std::slice::Iter<'s, Size>;

/// Room for what was needed the last time, and an eighth more.
fn room<T>(last: usize) -> Vec<T> {
    Vec::with_capacity(last + last / 8)
}

/// The values as a buffer, without much unused room.
fn trimmed<T>(mut values: Vec<T>) -> Vec<T> {
    if values.capacity() - values.len() > values.len() / 2 {
        values.shrink_to_fit();
    }
    values
}

/// Which values there are: a bit for each, set when it is put. What is left out costs nothing.
#[derive(Debug, Default)]
struct Present {
    bits: Vec<u8>,
}

impl Present {
    fn new(size: Size) -> Self {
        Self { bits: room(size.values.div_ceil(8)) }
    }

    #[inline(always)]
    fn set(&mut self, at: usize) {
        let byte = at / 8;
        if byte >= self.bits.len() {
            self.grow(byte);
        }
        self.bits[byte] |= 1 << (at % 8);
    }

    #[cold]
    fn grow(&mut self, byte: usize) {
        self.bits.resize(byte + 8, 0);
    }

    fn truncate(&mut self, to: usize) {
        self.bits.truncate(to.div_ceil(8));
        if let Some(last) = self.bits.get_mut(to / 8) {
            *last &= (1 << (to % 8)) - 1;
        }
    }

    fn bits(mut self, length: usize) -> BooleanBuffer {
        self.bits.resize(length.div_ceil(8), 0);
        BooleanBuffer::new(trimmed(self.bits).into(), 0, length)
    }

    /// None if all values are there.
    fn nulls(self, length: usize) -> Option<NullBuffer> {
        Some(NullBuffer::new(self.bits(length))).filter(|nulls| nulls.null_count() > 0)
    }
}

/// Values of one width.
#[derive(Debug)]
pub struct Fixed<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    present: Present,
}

impl<T: ArrowPrimitiveType> Fixed<T> {
    fn new(size: Size) -> Self {
        Self { values: room(size.values), present: Present::new(size) }
    }

    /// The value at that index.
    #[inline]
    pub fn put(&mut self, at: usize, value: T::Native) {
        if self.values.len() != at {
            self.values.resize(at, T::Native::default());
        }
        self.values.push(value);
        self.present.set(at);
    }

    fn truncate(&mut self, to: usize) {
        self.values.truncate(to);
        self.present.truncate(to);
    }

    fn size(&self) -> Size {
        Size { values: self.values.len(), bytes: 0 }
    }

    fn finish(mut self, length: usize, kind: DataType) -> ArrayRef {
        self.values.resize(length, T::Native::default());
        let values = ScalarBuffer::from(trimmed(self.values));
        Arc::new(PrimitiveArray::<T>::new(values, self.present.nulls(length)).with_data_type(kind))
    }
}

/// true and false.
#[derive(Debug)]
pub struct Bools {
    trues: Present,
    present: Present,
}

impl Bools {
    fn new(size: Size) -> Self {
        Self { trues: Present::new(size), present: Present::new(size) }
    }

    /// The value at that index.
    #[inline]
    pub fn put(&mut self, at: usize, value: bool) {
        self.present.set(at);
        if value {
            self.trues.set(at);
        }
    }

    fn truncate(&mut self, to: usize) {
        self.present.truncate(to);
        self.trues.truncate(to);
    }

    fn size(&self) -> Size {
        Size { values: self.present.bits.len() * 8, bytes: 0 }
    }
}

/// Texts, also those of json columns.
#[derive(Debug)]
pub struct Texts {
    /// The bytes of all texts; whoever writes here calls `end` next.
    pub data: Vec<u8>,
    spans: Spans,
}

impl Texts {
    fn new(size: Size) -> Self {
        Self { data: room(size.bytes), spans: Spans::new(size) }
    }

    /// The place of text number `at` in `data`.
    #[must_use]
    pub fn span(&self, at: usize) -> (usize, usize) {
        let place = |offset: i32| usize::try_from(offset).unwrap_or(0);
        (place(self.spans.offsets[at]), place(self.spans.offsets[at + 1]))
    }

    /// What was written to `data` is the text at that index.
    #[inline(always)]
    pub fn end(&mut self, at: usize) -> Outcome {
        self.spans.pad(at);
        self.spans.count = self.data.len();
        self.spans.end()
    }

    fn truncate(&mut self, to: usize) {
        self.spans.truncate(to);
        self.data.truncate(self.spans.count);
    }

    fn size(&self) -> Size {
        Size { bytes: self.data.len(), ..self.spans.size() }
    }

    /// The Arrow array of `length` texts.
    pub fn finish(self, length: usize) -> Result<ArrayRef, ArrowError> {
        let (offsets, nulls) = self.spans.finish(length);
        Ok(Arc::new(StringArray::try_new(offsets, trimmed(self.data).into(), nulls)?))
    }
}

impl Default for Texts {
    fn default() -> Self {
        Self::new(Size::default())
    }
}

/// Where texts, lists or maps begin and end among their bytes or elements.
#[derive(Debug)]
pub struct Spans {
    offsets: Vec<i32>,
    present: Present,
    /// Elements so far.
    pub count: usize,
}

impl Spans {
    fn new(size: Size) -> Self {
        let mut offsets = room(size.values + 1);
        offsets.push(0);
        Self { offsets, present: Present::new(size), count: 0 }
    }

    fn last(&self) -> i32 {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// Lists before that index which were left out are null.
    #[inline]
    pub fn pad(&mut self, to: usize) {
        if self.offsets.len() != to + 1 {
            self.fill(to);
        }
    }

    #[cold]
    fn fill(&mut self, to: usize) {
        self.offsets.resize(to + 1, self.last());
    }

    /// The elements since the last list are the list at that index; `pad` was called before the first of them.
    #[inline]
    pub fn end(&mut self) -> Outcome {
        self.present.set(self.offsets.len() - 1);
        self.offsets.push(i32::try_from(self.count).map_err(|_| Bad::Block)?);
        Ok(())
    }

    fn truncate(&mut self, to: usize) {
        self.offsets.truncate(to + 1);
        self.present.truncate(to);
        self.count = usize::try_from(self.last()).unwrap_or(0);
    }

    fn size(&self) -> Size {
        Size { values: self.offsets.len() - 1, bytes: 0 }
    }

    fn finish(mut self, length: usize) -> (OffsetBuffer<i32>, Option<NullBuffer>) {
        self.pad(length);
        (OffsetBuffer::new(ScalarBuffer::from(trimmed(self.offsets))), self.present.nulls(length))
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
    present: Present,
    /// Which member an object begins with.
    first: Guess,
}

/// Members that came next the last times; objects of one kind have their keys in one order, but may lack some.
#[derive(Clone, Copy, Debug)]
pub struct Guess {
    /// The last time.
    pub likely: usize,
    /// The last time that it was another one.
    pub other: usize,
}

/// A member's column.
#[derive(Debug)]
pub struct Member<'p> {
    /// Its name and type.
    pub plan: &'p Field,
    /// Its values.
    pub node: Node<'p>,
    /// Which member follows it.
    next: Guess,
    /// The last object that had it, as `Row::objects` counts them; 0 at first.
    pub owner: usize,
}

impl<'p> Objects<'p> {
    /// No objects, in a column that the next of the sizes is for.
    #[must_use]
    pub fn new(plan: &'p Struct, sizes: &mut Sizes) -> Self {
        let present = Present::new(next(sizes));
        let members = plan.fields.iter().enumerate().map(|(at, field)| Member {
            plan: field,
            node: Node::new(&field.kind, sizes),
            next: Guess { likely: at + 1, other: at + 2 },
            owner: 0,
        });
        Self { plan, members: members.collect(), present, first: Guess { likely: 0, other: 1 } }
    }

    /// Which member may come after member `before`, or first if there is no such member.
    #[inline]
    #[must_use]
    pub fn after(&self, before: usize) -> Guess {
        self.members.get(before).map_or(self.first, |member| member.next)
    }

    /// `after`, to be changed.
    pub fn after_mut(&mut self, before: usize) -> &mut Guess {
        self.members.get_mut(before).map_or(&mut self.first, |member| &mut member.next)
    }

    /// There is an object at that index.
    #[inline]
    pub fn end(&mut self, at: usize) {
        self.present.set(at);
    }

    /// Only the first objects stay.
    pub fn truncate(&mut self, to: usize) {
        self.present.truncate(to);
        for member in &mut self.members {
            member.node.truncate(to);
        }
    }

    /// The sizes that columns for the same objects would have.
    pub fn sizes(&self, sizes: &mut Vec<Size>) {
        sizes.push(Size { values: self.present.bits.len() * 8, bytes: 0 });
        for member in &self.members {
            member.node.sizes(sizes);
        }
    }

    /// The members' arrays.
    pub fn columns(members: Vec<Member<'p>>, length: usize) -> Result<Vec<ArrayRef>, ArrowError> {
        members.into_iter().map(|member| member.node.finish(length, &member.plan.kind)).collect()
    }
}

fn next(sizes: &mut Sizes) -> Size {
    sizes.next().copied().unwrap_or_default()
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
    fn new(kind: &'p Type, sizes: &mut Sizes) -> Self {
        let size = if matches!(kind, Type::Struct(_)) { Size::default() } else { next(sizes) };
        match kind {
            Type::Bool => Self::Bool(Bools::new(size)),
            Type::Int => Self::Int(Fixed::new(size)),
            Type::Float => Self::Float(Fixed::new(size)),
            Type::Text => Self::Text(Texts::new(size)),
            Type::Json => Self::Json(Texts::new(size)),
            Type::Date => Self::Date(Fixed::new(size)),
            Type::Time => Self::Time(Fixed::new(size)),
            Type::Epoch(unit) => Self::Epoch(Fixed::new(size), *unit),
            Type::Decimal { precision, scale } => Self::Decimal(Fixed::new(size), (*precision).into(), (*scale).into()),
            Type::List(element) => {
                Self::List(Box::new(Lists { spans: Spans::new(size), elements: Self::new(element, sizes) }))
            }
            Type::Map(value) => {
                let keys = Texts::new(next(sizes));
                Self::Map(Box::new(Maps { spans: Spans::new(size), keys, values: Self::new(value, sizes) }))
            }
            Type::Struct(members) => Self::Struct(Box::new(Objects::new(members, sizes))),
        }
    }

    /// Its values have places of their own.
    #[inline]
    #[must_use]
    pub fn nested(&self) -> bool {
        matches!(self, Self::List(_) | Self::Map(_) | Self::Struct(_))
    }

    /// Only the first values stay.
    pub fn truncate(&mut self, to: usize) {
        match self {
            Self::Bool(bools) => bools.truncate(to),
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

    /// In the order in which `new` takes them.
    fn sizes(&self, sizes: &mut Vec<Size>) {
        match self {
            Self::Bool(bools) => sizes.push(bools.size()),
            Self::Int(ints) => sizes.push(ints.size()),
            Self::Float(floats) => sizes.push(floats.size()),
            Self::Text(texts) | Self::Json(texts) => sizes.push(texts.size()),
            Self::Date(dates) => sizes.push(dates.size()),
            Self::Time(instants) | Self::Epoch(instants, _) => sizes.push(instants.size()),
            Self::Decimal(decimals, _, _) => sizes.push(decimals.size()),
            Self::List(lists) => {
                sizes.push(lists.spans.size());
                lists.elements.sizes(sizes);
            }
            Self::Map(maps) => {
                sizes.extend([maps.spans.size(), maps.keys.size()]);
                maps.values.sizes(sizes);
            }
            Self::Struct(objects) => objects.sizes(sizes),
        }
    }

    fn finish(self, length: usize, kind: &Type) -> Result<ArrayRef, ArrowError> {
        let arrow = kind.arrow();
        Ok(match (self, kind, &arrow) {
            (Self::Bool(bools), ..) => {
                Arc::new(BooleanArray::new(bools.trues.bits(length), bools.present.nulls(length)))
            }
            (Self::Int(ints), ..) => ints.finish(length, arrow),
            (Self::Float(floats), ..) => floats.finish(length, arrow),
            (Self::Text(texts) | Self::Json(texts), ..) => texts.finish(length)?,
            (Self::Date(dates), ..) => dates.finish(length, arrow),
            (Self::Time(instants) | Self::Epoch(instants, _), ..) => instants.finish(length, arrow),
            (Self::Decimal(decimals, _, _), ..) => decimals.finish(length, arrow),
            (Self::List(lists), Type::List(element), DataType::List(field)) => {
                let elements = lists.elements.finish(lists.spans.count, element)?;
                let (offsets, nulls) = lists.spans.finish(length);
                Arc::new(ListArray::try_new(field.clone(), offsets, elements, nulls)?)
            }
            (Self::Map(maps), Type::Map(value), DataType::Map(field, _)) => {
                let DataType::Struct(fields) = field.data_type() else {
                    return Err(ArrowError::SchemaError("a map's entries are structs".to_owned()));
                };
                let count = maps.spans.count;
                let columns = vec![maps.keys.finish(count)?, maps.values.finish(count, value)?];
                let entries = StructArray::try_new_with_length(fields.clone(), columns, None, count)?;
                let (offsets, nulls) = maps.spans.finish(length);
                Arc::new(MapArray::try_new(field.clone(), offsets, entries, nulls, false)?)
            }
            (Self::Struct(objects), Type::Struct(_), DataType::Struct(fields)) => {
                let columns = Objects::columns(objects.members, length)?;
                let nulls = objects.present.nulls(length);
                Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, length)?)
            }
            _ => return Err(ArrowError::SchemaError("a column has its plan's type".to_owned())),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{Struct, Type};
    use crate::rows::{Rules, parse};

    #[test]
    fn the_same_block_never_asks_for_more_room() {
        let inner = Struct::new(1, vec![("c".to_owned(), Type::Text)]);
        let kinds = [Type::Bool, Type::Int, Type::List(Box::new(Type::Bool)), Type::Struct(inner)];
        let table = Struct::new(0, ["a", "b", "d", "e"].map(str::to_owned).into_iter().zip(kinds).collect());
        let block = br#"{"a":true,"b":1,"d":[false,true],"e":{"c":"x"}}"#;
        let block = [block.as_slice(), b"\n"].concat().repeat(1000);
        let rules = Rules { depth_max: 9, infer_timestamps: true, observe_only: false };
        parse(&[&block], &table, 2, rules).unwrap();
        let first = format!("{:?}", table.sizes());
        for _ in 0..50 {
            parse(&[&block], &table, 2, rules).unwrap();
        }
        assert_eq!(format!("{:?}", table.sizes()), first);
    }
}

//! What of a module matters for reshaping it.
//!
//! Owns [`Survey`] and [`Bulk`], and the numbering of the functions that are added: behind all
//! others come one for each kind of bulk instruction, the start, and the entries that begin with
//! it.

use super::Result;
use std::collections::BTreeSet;
use std::ops::Range;
use wasm_encoder::{Encode, RefType, ValType};
use wasmparser::{
    CompositeInnerType, ConstExpr, DataKind, ElementItems, ElementKind, ExternalKind, FunctionBody,
    Operator, Parser, Payload, TypeRef,
};

/// Most bytes that are done in one go.
pub(super) const UNIT_BYTES: u32 = 64 << 10;
/// Most table elements that are: as many bytes.
const UNIT_ELEMENTS: u32 = UNIT_BYTES / 8;
/// Most WebAssembly pages of memory that a process has from the beginning: 1 MiB.
const MEMORY_AT_START_MAX: u64 = 16;
/// Most bytes of data that are copied while a process is made.
const DATA_AT_START_MAX: u64 = UNIT_BYTES as u64;

/// What a library for WASI exports to be called before anything else.
const WASI_INITIALIZE: &str = "_initialize";

/// A bulk instruction, with the indices that are part of it.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) enum Bulk {
    MemoryFill,
    MemoryCopy,
    MemoryInit(u32),
    TableFill(u32),
    TableCopy { to: u32, from: u32 },
    TableInit { table: u32, segment: u32 },
}

/// A data segment.
#[derive(Clone, Debug)]
pub(super) struct Data<'a> {
    pub(super) len: u32,
    /// Where it is copied to in the beginning; `None` if it is passive.
    pub(super) offset: Option<&'a [u8]>,
}

/// What of a module matters for reshaping it.
#[derive(Default)]
pub(super) struct Survey<'a> {
    /// How many types it has.
    types: u32,
    /// How many functions, imported ones included.
    functions: u32,
    /// Its types that take and return nothing.
    plain_types: BTreeSet<u32>,
    /// Its functions of such types.
    plain_functions: BTreeSet<u32>,
    /// How many functions it has itself.
    pub(super) bodies: u32,
    tables: Vec<RefType>,
    /// Pages of memory in the beginning.
    pub(super) memory: u64,
    pub(super) data: Vec<Data<'a>>,
    /// Whether nodes give memories their data.
    pub(super) data_in_pages: bool,
    /// Whether it says how many data segments it has before its code.
    pub(super) counts_data: bool,
    elements: Vec<u32>,
    /// Exported functions that a process can begin with.
    pub(super) entries: BTreeSet<u32>,
    /// The exported function that a library for WASI wants called before any other.
    initialize: Option<u32>,
    /// The bulk instructions that may have to be chunked.
    pub(super) bulk: BTreeSet<Bulk>,
    /// The globals that it can change, and what they are in the beginning.
    pub(super) globals: Vec<Global<'a>>,
    globals_seen: u32,
    /// Data segments that its functions copy from.
    copied: BTreeSet<u32>,
    /// Whether it does what its entries could not take back.
    lasting: bool,
}

/// A global that can be changed.
pub(super) struct Global<'a> {
    pub(super) index: u32,
    /// The expression for its first value.
    pub(super) value: &'a [u8],
}

impl Bulk {
    pub(super) fn of(operator: &Operator<'_>) -> Option<Bulk> {
        Some(match *operator {
            Operator::MemoryFill { .. } => Bulk::MemoryFill,
            Operator::MemoryCopy { .. } => Bulk::MemoryCopy,
            Operator::MemoryInit { data_index, .. } => Bulk::MemoryInit(data_index),
            Operator::TableFill { table } => Bulk::TableFill(table),
            Operator::TableCopy { dst_table, src_table } => {
                Bulk::TableCopy { to: dst_table, from: src_table }
            }
            Operator::TableInit { elem_index, table } => {
                Bulk::TableInit { table, segment: elem_index }
            }
            _ => return None,
        })
    }

    /// Most that is done in one go.
    pub(super) fn unit(self) -> u32 {
        match self {
            Bulk::MemoryFill | Bulk::MemoryCopy | Bulk::MemoryInit(_) => UNIT_BYTES,
            _ => UNIT_ELEMENTS,
        }
    }

    /// The table whose elements the second operand is one of.
    fn filled_table(self) -> Option<u32> {
        match self {
            Bulk::TableFill(table) => Some(table),
            _ => None,
        }
    }

    /// What a backtrace calls it.
    fn name(self) -> &'static str {
        match self {
            Bulk::MemoryFill => "memory.fill",
            Bulk::MemoryCopy => "memory.copy",
            Bulk::MemoryInit(_) => "memory.init",
            Bulk::TableFill(_) => "table.fill",
            Bulk::TableCopy { .. } => "table.copy",
            Bulk::TableInit { .. } => "table.init",
        }
    }
}

impl<'a> Survey<'a> {
    pub(super) fn of(wasm: &'a [u8]) -> Result<Self> {
        let mut survey = Survey::default();
        for payload in Parser::new(0).parse_all(wasm) {
            survey.read(payload?, wasm)?;
        }
        // Copying from a segment that was used up in the beginning must fail.
        let data = &survey.data;
        let used_up =
            |index: &u32| data.get(*index as usize).is_none_or(|data| data.offset.is_some());
        survey.lasting |= survey.copied.iter().any(used_up);
        // Those that are too short to need it are not worth a function.
        let is_long = |bulk: &Bulk| match *bulk {
            Bulk::MemoryInit(index) => data.get(index as usize).is_some_and(Data::is_long),
            _ => true,
        };
        survey.bulk.retain(is_long);
        survey.data_in_pages = survey.begins_itself() && craton_engine::data_of(wasm).is_some();
        if survey.begins_itself() && !survey.data_in_pages {
            let long = survey.data.iter().enumerate().filter(|(_, data)| data.is_long());
            survey.bulk.extend(long.map(|(index, _)| Bulk::MemoryInit(index as u32)));
        }
        Ok(survey)
    }

    fn read(&mut self, payload: Payload<'a>, wasm: &'a [u8]) -> Result<()> {
        match payload {
            Payload::TypeSection(types) => {
                for group in types {
                    for kind in group?.into_types() {
                        self.add_type(&kind.composite_type.inner);
                    }
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    // A program imports nothing but functions.
                    if let TypeRef::Func(kind) = import?.ty {
                        self.add_function(kind);
                    }
                }
            }
            Payload::FunctionSection(functions) => {
                for kind in functions {
                    self.bodies += 1;
                    self.add_function(kind?);
                }
            }
            Payload::TableSection(tables) => {
                for table in tables {
                    let is_extern = table?.ty.element_type.is_extern_ref();
                    self.tables.push(if is_extern { RefType::EXTERNREF } else { RefType::FUNCREF });
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    self.memory = memory?.initial;
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    let index = export.index;
                    if export.kind == ExternalKind::Func && self.plain_functions.contains(&index) {
                        self.entries.insert(index);
                        if export.name == WASI_INITIALIZE {
                            self.initialize = Some(index);
                        }
                    }
                }
            }
            Payload::DataCountSection { .. } => self.counts_data = true,
            Payload::GlobalSection(globals) => {
                for global in globals {
                    let global = global?;
                    let (index, value) = (self.globals_seen, plain(&global.init_expr, wasm));
                    self.globals_seen += 1;
                    if global.ty.mutable {
                        self.globals.push(Global { index, value });
                    }
                }
            }
            Payload::CodeSectionEntry(body) => {
                let mut found = Vec::new();
                self.each_bulk(&body, |_, bulk, _| found.push(bulk))?;
                self.bulk.extend(found);
                self.note_effects(&body)?;
            }
            other => self.read_segments(other, wasm)?,
        }
        Ok(())
    }

    fn read_segments(&mut self, payload: Payload<'a>, wasm: &'a [u8]) -> Result<()> {
        match payload {
            Payload::ElementSection(elements) => {
                for element in elements {
                    let element = element?;
                    let len = match element.items {
                        ElementItems::Functions(items) => items.count(),
                        ElementItems::Expressions(_, items) => items.count(),
                    };
                    // What is copied in the beginning is dropped then: no instruction copies it.
                    let passive = matches!(element.kind, ElementKind::Passive);
                    self.elements.push(if passive { len } else { 0 });
                }
            }
            Payload::DataSection(data) => {
                for datum in data {
                    let datum = datum?;
                    let offset = match datum.kind {
                        DataKind::Passive => None,
                        DataKind::Active { offset_expr, .. } => Some(plain(&offset_expr, wasm)),
                    };
                    self.data.push(Data { len: datum.data.len() as u32, offset });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn add_type(&mut self, kind: &CompositeInnerType) {
        if let CompositeInnerType::Func(function) = kind
            && function.params().is_empty()
            && function.results().is_empty()
        {
            self.plain_types.insert(self.types);
        }
        self.types += 1;
    }

    fn add_function(&mut self, kind: u32) {
        if self.plain_types.contains(&kind) {
            self.plain_functions.insert(self.functions);
        }
        self.functions += 1;
    }

    /// Visits the bulk instructions of a function, and their places, that are not short for sure.
    pub(super) fn each_bulk(
        &self,
        body: &FunctionBody<'_>,
        mut each: impl FnMut(&Self, Bulk, Range<usize>),
    ) -> Result<()> {
        let mut reader = body.get_operators_reader()?;
        // The constant that the last instruction put on the stack.
        let mut length = None;
        while !reader.eof() {
            let start = reader.original_position();
            let operator = reader.read()?;
            if let Some(bulk) = Bulk::of(&operator)
                && length.is_none_or(|length| length > bulk.unit())
            {
                each(self, bulk, start..reader.original_position());
            }
            length = match operator {
                Operator::I32Const { value } => Some(value as u32),
                _ => None,
            };
        }
        Ok(())
    }

    /// Notes whether a function changes what no start sets anew: tables and whole segments. A table
    /// that grows is seen by the engine.
    fn note_effects(&mut self, body: &FunctionBody<'_>) -> Result<()> {
        for operator in body.get_operators_reader()? {
            match operator? {
                Operator::MemoryInit { data_index, .. } => {
                    self.copied.insert(data_index);
                }
                Operator::TableSet { .. }
                | Operator::TableFill { .. }
                | Operator::TableCopy { .. }
                | Operator::TableInit { .. }
                | Operator::ElemDrop { .. }
                | Operator::DataDrop { .. } => self.lasting = true,
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the entries set up memory and data: where that would take too long while a process
    /// is made, and where it lets the next process have the instance.
    pub(super) fn begins_itself(&self) -> bool {
        self.bodies > 0 && (self.is_long() || self.can_begin_anew() || self.initialize.is_some())
    }

    /// Whether an instance whose memory was wiped is a new one once an entry has begun.
    pub(super) fn can_begin_anew(&self) -> bool {
        !self.lasting && self.bodies > 0
    }

    fn is_long(&self) -> bool {
        let active = self.data.iter().filter(|data| data.offset.is_some());
        let bytes: u64 = active.map(|data| u64::from(data.len)).sum();
        bytes > DATA_AT_START_MAX || self.memory > MEMORY_AT_START_MAX
    }

    /// Pages of memory that a process has before its entry is called.
    pub(super) fn memory_at_start(&self) -> u64 {
        // Its data are there from the beginning, so it must be.
        if self.data_in_pages { self.memory } else { self.memory.min(MEMORY_AT_START_MAX) }
    }

    /// The types that are added, how many and encoded: those of the functions, in their order.
    pub(super) fn added_types(&self) -> (u32, Vec<u8>) {
        const FUNCTION: u8 = 0x60;
        let mut out = Vec::new();
        for bulk in &self.bulk {
            let table = bulk.filled_table().and_then(|table| self.tables.get(table as usize));
            let second = table.map_or(ValType::I32, |table| ValType::Ref(*table));
            out.push(FUNCTION);
            [ValType::I32, second, ValType::I32].as_slice().encode(&mut out);
            out.push(0);
        }
        // Of the start and of the entries.
        out.extend([FUNCTION, 0, 0]);
        (self.bulk.len() as u32 + 1, out)
    }

    /// The functions that are added, as their types.
    pub(super) fn added_functions(&self) -> (u32, Vec<u8>) {
        let plain = self.types + self.bulk.len() as u32;
        let mut kinds: Vec<u32> = (self.types..plain).collect();
        if self.begins_itself() {
            kinds.resize(kinds.len() + 1 + self.entries.len(), plain);
        }
        let mut out = Vec::new();
        kinds.iter().for_each(|kind| kind.encode(&mut out));
        (kinds.len() as u32, out)
    }

    /// The names of the functions that chunk.
    pub(super) fn added_names(&self) -> (u32, Vec<u8>) {
        let mut out = Vec::new();
        for (function, bulk) in (self.functions..).zip(&self.bulk) {
            function.encode(&mut out);
            bulk.name().encode(&mut out);
        }
        (self.bulk.len() as u32, out)
    }

    /// The function that does a bulk instruction in chunks, if there is one.
    pub(super) fn helper(&self, bulk: Bulk) -> Option<u32> {
        let position = self.bulk.iter().position(|known| *known == bulk)?;
        Some(self.functions + position as u32)
    }

    /// The function with which the entries begin.
    pub(super) fn start_function(&self) -> u32 {
        self.functions + self.bulk.len() as u32
    }

    /// The function that stands for an entry where it begins with the start.
    pub(super) fn beginning_entry(&self, entry: u32) -> Option<u32> {
        let position = self.entries.iter().position(|known| *known == entry)?;
        self.begins_itself().then(|| self.start_function() + 1 + position as u32)
    }

    /// What is called between the start and an entry.
    pub(super) fn initialize_before(&self, entry: u32) -> Option<u32> {
        self.initialize.filter(|initialize| *initialize != entry)
    }

    /// How long the segment is that a bulk instruction copies from, if it does.
    pub(super) fn segment_len(&self, bulk: Bulk) -> Option<u32> {
        match bulk {
            Bulk::MemoryInit(index) => Some(self.data.get(index as usize).map_or(0, |d| d.len)),
            Bulk::TableInit { segment, .. } => {
                Some(self.elements.get(segment as usize).copied().unwrap_or(0))
            }
            _ => None,
        }
    }
}

/// The instructions of a constant expression, without the `end` that closes it.
fn plain<'a>(expression: &ConstExpr<'_>, wasm: &'a [u8]) -> &'a [u8] {
    let range = expression.get_binary_reader().range();
    &wasm[range.start..range.end - 1]
}

impl Data<'_> {
    fn is_long(&self) -> bool {
        self.len > UNIT_BYTES
    }
}

//! Rewrites a program so that nothing in it can hold a CPU.
//!
//! Owns [`reshape`]. A process is preempted where it executes its own code. What one instruction
//! makes the engine do in one go is none of it, so such instructions are made short here:
//!
//! - a bulk instruction (`memory.fill`, `memory.copy` and their like) whose length is not a small
//!   constant becomes a call of a function that does it in chunks, with the same outcome, traps
//!   before the first write included;
//! - memory that would take long to set up is set up by the entry, as the first thing it does, and
//!   no longer while the process is made. So are data, unless they are as simple as most: then they
//!   are in no code at all, and come page by page ([`DATA_IN_PAGES`]).
//!
//! What else an entry does first: it calls `_initialize` where a library for WASI has that.
//!
//! And that entry can do more: where a program changes nothing for good but its memory and globals,
//! it sets all of them anew. Then a node need not make an instance for each process: one whose
//! process has ended is as good as new when its memory was wiped. [`BEGINS_ANEW`] tells it so.
//!
//! All else is copied as it is: functions are added behind those that are there, so no index
//! changes. The bundle carries the program as its author wrote it; only the native artifact is of
//! this.

mod helpers;
mod survey;

use craton_engine::{BEGINS_ANEW, DATA_IN_PAGES};
use std::borrow::Cow;
use std::ops::Range;
use survey::{Bulk, Survey};
use wasm_encoder::{
    CodeSection, DataCountSection, DataSection, Encode, ExportKind, ExportSection, Function,
    Instruction, MemorySection, MemoryType, Module, RawSection, SectionId,
};
use wasmparser::{BinaryReader, DataKind, Error, ExternalKind, FunctionBody, Parser, Payload};

type Result<T> = std::result::Result<T, Error>;

/// A program that does the same as the valid program `wasm`, in steps that are all short.
pub(crate) fn reshape(wasm: &[u8]) -> Result<Cow<'_, [u8]>> {
    let survey = Survey::of(wasm)?;
    if survey.bulk.is_empty() && !survey.begins_itself() {
        return Ok(Cow::Borrowed(wasm));
    }
    let mut rewriter = Rewriter { wasm, survey, module: Module::new(), code: CodeSection::new() };
    for payload in Parser::new(0).parse_all(wasm) {
        rewriter.add(payload?)?;
    }
    Ok(Cow::Owned(rewriter.module.finish()))
}

struct Rewriter<'w> {
    wasm: &'w [u8],
    survey: Survey<'w>,
    module: Module,
    /// The functions so far, of which the last comes after all other sections before the data.
    code: CodeSection,
}

impl<'w> Rewriter<'w> {
    fn add(&mut self, payload: Payload<'w>) -> Result<()> {
        let deferred = self.survey.begins_itself();
        match payload {
            Payload::TypeSection(section) => {
                self.extend(SectionId::Type, section.range(), |own| own.survey.added_types())
            }
            Payload::FunctionSection(section) => {
                self.extend(SectionId::Function, section.range(), |own| {
                    own.survey.added_functions()
                })
            }
            Payload::MemorySection(section) if deferred => self.memories(section),
            Payload::ExportSection(section) if deferred => self.exports(section),
            Payload::DataSection(section) if deferred => self.data(section),
            Payload::CodeSectionStart { .. } => {
                self.count_data();
                Ok(())
            }
            Payload::CodeSectionEntry(body) => self.body(&body),
            Payload::CustomSection(section) if section.name() == "name" => {
                self.names(section.data());
                Ok(())
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    self.module.section(&RawSection { id, data: &self.wasm[range] });
                }
                Ok(())
            }
        }
    }

    /// Copies a section that is a vector, with more at its end.
    fn extend(
        &mut self,
        id: SectionId,
        range: Range<usize>,
        more: impl FnOnce(&Self) -> (u32, Vec<u8>),
    ) -> Result<()> {
        let (count, bytes) = more(self);
        let data = extended(&self.wasm[range], count, &bytes)?;
        self.module.section(&RawSection { id: id.into(), data: &data });
        Ok(())
    }

    fn memories(&mut self, section: wasmparser::MemorySectionReader<'_>) -> Result<()> {
        let mut memories = MemorySection::new();
        for memory in section {
            let memory = memory?;
            memories.memory(MemoryType {
                minimum: self.survey.memory_at_start(),
                maximum: memory.maximum,
                memory64: memory.memory64,
                shared: memory.shared,
                page_size_log2: memory.page_size_log2,
            });
        }
        self.module.section(&memories);
        Ok(())
    }

    fn exports(&mut self, section: wasmparser::ExportSectionReader<'_>) -> Result<()> {
        let mut exports = ExportSection::new();
        for export in section {
            let export = export?;
            let kind = match export.kind {
                ExternalKind::Func | ExternalKind::FuncExact => ExportKind::Func,
                ExternalKind::Table => ExportKind::Table,
                ExternalKind::Memory => ExportKind::Memory,
                ExternalKind::Global => ExportKind::Global,
                ExternalKind::Tag => ExportKind::Tag,
            };
            let entry = self.survey.beginning_entry(export.index);
            let entry = entry.filter(|_| kind == ExportKind::Func);
            exports.export(export.name, kind, entry.unwrap_or(export.index));
        }
        let mut mark = |name| {
            exports.export(name, ExportKind::Func, self.survey.start_function());
        };
        if self.survey.can_begin_anew() {
            mark(BEGINS_ANEW);
        }
        if self.survey.data_in_pages {
            mark(DATA_IN_PAGES);
        }
        self.module.section(&exports);
        Ok(())
    }

    /// Makes all data wait for the start, or leaves them out: an active segment that is used up is
    /// as an empty one.
    fn data(&mut self, section: wasmparser::DataSectionReader<'_>) -> Result<()> {
        let mut data = DataSection::new();
        for datum in section {
            let datum = datum?;
            let left_out =
                self.survey.data_in_pages && matches!(datum.kind, DataKind::Active { .. });
            let bytes = if left_out { &[] } else { datum.data };
            data.passive(bytes.iter().copied());
        }
        self.module.section(&data);
        Ok(())
    }

    /// Code that names data segments needs their number before it.
    fn count_data(&mut self) {
        let count = self.survey.data.len() as u32;
        if self.survey.begins_itself() && count > 0 && !self.survey.counts_data {
            self.module.section(&DataCountSection { count });
        }
    }

    /// Copies a function, with calls where it has bulk instructions; behind the last one come those
    /// that are called.
    fn body(&mut self, body: &FunctionBody<'_>) -> Result<()> {
        let range = body.range();
        let (mut code, mut copied) = (Vec::new(), range.start);
        self.survey.each_bulk(body, |survey, bulk, place| {
            if let Some(helper) = survey.helper(bulk) {
                code.extend_from_slice(&self.wasm[copied..place.start]);
                Instruction::Call(helper).encode(&mut code);
                copied = place.end;
            }
        })?;
        code.extend_from_slice(&self.wasm[copied..range.end]);
        self.code.raw(&code);
        if self.code.len() == self.survey.bodies {
            self.added_code();
            self.module.section(&self.code);
        }
        Ok(())
    }

    fn added_code(&mut self) {
        for bulk in &self.survey.bulk {
            self.code.function(&helpers::chunked(*bulk, self.survey.segment_len(*bulk)));
        }
        if self.survey.begins_itself() {
            let start = self.start();
            self.code.function(&start);
            for entry in &self.survey.entries {
                let initialize = self.survey.initialize_before(*entry);
                let first = [Some(self.survey.start_function()), initialize];
                self.code.function(&helpers::in_turn(first.into_iter().flatten(), *entry));
            }
        }
    }

    /// What an entry does first: grows the memory to its first size, copies the data into it, sets
    /// the globals.
    fn start(&self) -> Function {
        let mut function = Function::new([]);
        let missing = self.survey.memory - self.survey.memory_at_start();
        if missing > 0 {
            helpers::grow_or_trap(&mut function, missing as u32);
        }
        for (index, segment) in self.survey.data.iter().enumerate() {
            let Some(offset) = segment.offset.filter(|_| !self.survey.data_in_pages) else {
                continue;
            };
            let data_index = index as u32;
            function.raw(offset.iter().copied());
            function.instruction(&Instruction::I32Const(0));
            function.instruction(&Instruction::I32Const(segment.len as i32));
            let helper = self.survey.helper(Bulk::MemoryInit(data_index));
            function.instruction(&match helper {
                Some(helper) => Instruction::Call(helper),
                None => Instruction::MemoryInit { mem: 0, data_index },
            });
            if !self.survey.can_begin_anew() {
                function.instruction(&Instruction::DataDrop(data_index));
            }
        }
        for global in &self.survey.globals {
            function.raw(global.value.iter().copied());
            function.instruction(&Instruction::GlobalSet(global.index));
        }
        function.instruction(&Instruction::End);
        function
    }

    /// Copies the names, with those of the functions that chunk. Names that cannot be read are
    /// copied as they are: they mean nothing to the program.
    fn names(&mut self, names: &[u8]) {
        let named = self.named(names);
        let names = named.as_deref().unwrap_or(names);
        self.module.section(&wasm_encoder::CustomSection {
            name: Cow::Borrowed("name"),
            data: Cow::Borrowed(names),
        });
    }

    fn named(&self, names: &[u8]) -> Result<Vec<u8>> {
        /// The part of the section that names functions.
        const FUNCTIONS: u8 = 1;
        let mut reader = BinaryReader::new(names, 0);
        let mut out = Vec::new();
        while !reader.eof() {
            let id = reader.read_u8()?;
            let len = reader.read_var_u32()? as usize;
            let part = reader.read_bytes(len)?;
            out.push(id);
            if id == FUNCTIONS {
                let (count, added) = self.survey.added_names();
                extended(part, count, &added)?.encode(&mut out);
            } else {
                part.encode(&mut out);
            }
        }
        Ok(out)
    }
}

/// A vector of items with `count` more, already encoded, at its end.
fn extended(vector: &[u8], count: u32, more: &[u8]) -> Result<Vec<u8>> {
    let mut reader = BinaryReader::new(vector, 0);
    let before = reader.read_var_u32()?;
    let items = &vector[reader.original_position()..];
    let mut out = Vec::with_capacity(vector.len() + more.len() + 5);
    (before + count).encode(&mut out);
    out.extend_from_slice(items);
    out.extend_from_slice(more);
    Ok(out)
}

#[cfg(test)]
mod tests;

//! The programs of a node: what all of its CPUs share.
//!
//! Owns [`Programs`]: wasmtime's engine, of which there is one because its table of code is the
//! kernel's, the linker, and every loaded program. Any CPU may load, unload or look up at any time.
//! The one lock here guards the table alone: it is held neither while a bundle is verified and its
//! code mapped nor while an instance is made, let alone while a process runs.

use crate::process::Guest;
use crate::transit::Transit;
use crate::{
    BEGINS_ANEW, DATA_IN_PAGES, LoadError, MEMORY, calls, data_of, load_module, platform, wasi,
};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use craton_abi::ProgramId;
use craton_bundle::{Bundle, CompilerKey, Verified};
use craton_hal::memory::{Image, PageContent};
use spin::Mutex;
use wasmtime::{ExternType, InstancePre, Linker, Module};

/// Most programs loaded at once on a node.
pub const PROGRAMS_MAX: usize = 64;

const _: () = assert!(
    PROGRAMS_MAX <= craton_hal::interrupt::TEXT_RANGES_MAX / 2,
    "programs that were unloaded keep their text while processes of theirs live"
);

/// The entry where a run begins.
const MAIN: &str = "main";
const PAGE_BYTES: usize = size_of::<PageContent>();
/// What a program for WASI calls its own.
const WASI_START: &str = "_start";

/// Every program that is loaded, for all CPUs of a node.
pub struct Programs {
    engine: wasmtime::Engine,
    linker: Linker<Guest>,
    loaded: Mutex<BTreeMap<ProgramId, Arc<Program>>>,
    /// How many were unloaded ever.
    unloads: AtomicU64,
    /// Processes of them that go from one engine to another.
    transit: Transit,
}

/// A program, ready to be made instances of.
pub(crate) struct Program {
    pub(crate) id: ProgramId,
    name: String,
    pub(crate) prepared: InstancePre<Guest>,
    /// Its exported functions that take and return nothing.
    entries: BTreeSet<Arc<str>>,
    /// Whether an instance whose memory was wiped is as good as new.
    pub(crate) begins_anew: bool,
    /// What its processes have of memory in the beginning.
    pub(crate) memory_bytes: u64,
    /// What memories hold in the beginning, if its code does not see to it.
    pub(crate) image: Option<Arc<Image>>,
    unloaded: AtomicBool,
}

const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Programs>();
};

impl Programs {
    /// No programs yet. Once for a kernel: wasmtime keeps one table of code.
    ///
    /// # Errors
    ///
    /// Those of wasmtime, if the configuration does not fit the machine.
    pub fn new() -> wasmtime::Result<Arc<Programs>> {
        let engine = platform::new_engine()?;
        let mut linker = Linker::new(&engine);
        calls::link(&mut linker)?;
        wasi::link(&mut linker)?;
        Ok(Arc::new(Programs {
            engine,
            linker,
            loaded: Mutex::default(),
            unloads: AtomicU64::new(0),
            transit: Transit::default(),
        }))
    }

    /// Loads the program of `bundle`, whose id the caller computed. Loading it again changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`LoadError`]; nothing has changed then.
    pub fn load(
        &self,
        program: ProgramId,
        bundle: &[u8],
        keys: &[CompilerKey],
    ) -> Result<(), LoadError> {
        if self.holds(program)? {
            return Ok(());
        }
        let verified = Bundle::parse(bundle).and_then(|bundle| bundle.verify(keys));
        let verified = verified.map_err(LoadError::Bundle)?;
        // Its text, and about the length of the wasm for what describes it.
        if !platform::has_room(bundle.len()) {
            return Err(LoadError::Memory);
        }
        let module = load_module(&self.engine, &verified)?;
        let prepared = self.linker.instantiate_pre(&module);
        let prepared = prepared.map_err(|error| LoadError::Link(format!("{error:#}")))?;
        self.insert(program, Arc::new(Program::new(program, &verified, prepared)?))
    }

    /// Whether a program is loaded already.
    fn holds(&self, program: ProgramId) -> Result<bool, LoadError> {
        let loaded = self.loaded.lock();
        if loaded.contains_key(&program) {
            return Ok(true);
        }
        if loaded.len() >= PROGRAMS_MAX { Err(LoadError::Full) } else { Ok(false) }
    }

    /// Adds a program, unless another CPU did meanwhile.
    fn insert(&self, program: ProgramId, fresh: Arc<Program>) -> Result<(), LoadError> {
        let mut loaded = self.loaded.lock();
        if loaded.contains_key(&program) {
            // Code is never unmapped under the lock.
            drop(loaded);
            return Ok(());
        }
        if loaded.len() >= PROGRAMS_MAX {
            drop(loaded);
            return Err(LoadError::Full);
        }
        loaded.insert(program, fresh);
        Ok(())
    }

    /// Forgets a program. Processes that run it live on, on every CPU.
    pub fn unload(&self, program: ProgramId) {
        let last = self.loaded.lock().remove(&program);
        if let Some(last) = last {
            last.unloaded.store(true, Ordering::Release);
            self.unloads.fetch_add(1, Ordering::Release);
        }
        // The lock is free again here, where dropping it may unmap its code.
    }

    /// Where processes lie that one engine gave and another is to take.
    pub(crate) fn transit(&self) -> &Transit {
        &self.transit
    }

    /// Changes whenever a program was unloaded.
    pub(crate) fn unloads(&self) -> u64 {
        self.unloads.load(Ordering::Acquire)
    }

    /// What people call a loaded program.
    pub fn name(&self, program: ProgramId) -> Option<String> {
        self.loaded.lock().get(&program).map(|program| program.name.clone())
    }

    /// A loaded program, to make an instance of.
    pub(crate) fn get(&self, program: ProgramId) -> Option<Arc<Program>> {
        self.loaded.lock().get(&program).cloned()
    }

    pub(crate) fn engine(&self) -> &wasmtime::Engine {
        &self.engine
    }
}

impl Program {
    fn new(
        id: ProgramId,
        verified: &Verified<'_>,
        prepared: InstancePre<Guest>,
    ) -> Result<Self, LoadError> {
        let is_plain = |kind: ExternType| match kind {
            ExternType::Func(kind) => kind.params().len() == 0 && kind.results().len() == 0,
            _ => false,
        };
        let exports = prepared.module().exports();
        let plain = exports.filter(|export| is_plain(export.ty()));
        let mut entries: BTreeSet<Arc<str>> = plain.map(|export| export.name().into()).collect();
        let image = match entries.remove(DATA_IN_PAGES) {
            true => Some(Arc::new(image_of(verified.wasm())?)),
            false => None,
        };
        Ok(Program {
            id,
            name: verified.name().into(),
            begins_anew: entries.remove(BEGINS_ANEW),
            memory_bytes: memory_bytes(prepared.module()),
            image,
            entries,
            prepared,
            unloaded: AtomicBool::new(false),
        })
    }

    /// The exported function that takes and returns nothing for `entry`, if there is one. Where
    /// an ordinary toolchain made the program, its `main` is called `_start`.
    pub(crate) fn entry(&self, entry: &str) -> Option<&Arc<str>> {
        let named = self.entries.get(entry);
        named.or_else(|| self.entries.get(WASI_START).filter(|_| entry == MAIN))
    }

    /// What people call it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it was unloaded: processes of it live on, and no new ones come.
    pub(crate) fn is_unloaded(&self) -> bool {
        self.unloaded.load(Ordering::Acquire)
    }
}

/// What a process has of memory in the beginning.
fn memory_bytes(module: &Module) -> u64 {
    match module.get_export(MEMORY) {
        Some(ExternType::Memory(memory)) => memory.minimum().saturating_mul(memory.page_size()),
        _ => 0,
    }
}

/// The pages of a program's data.
fn image_of(wasm: &[u8]) -> Result<Image, LoadError> {
    let Some(data) = data_of(wasm) else {
        return Err(LoadError::Engine(String::from("its data are not what its compiler found")));
    };
    let mut pages: BTreeMap<u32, Box<PageContent>> = BTreeMap::new();
    for (start, mut bytes) in data {
        let mut at = start as usize;
        while !bytes.is_empty() {
            let (number, place) = ((at / PAGE_BYTES) as u32, at % PAGE_BYTES);
            let (part, rest) = bytes.split_at(bytes.len().min(PAGE_BYTES - place));
            if !pages.contains_key(&number) && !platform::has_room(PAGE_BYTES) {
                return Err(LoadError::Memory);
            }
            let page = pages.entry(number).or_insert_with(|| Box::new([0; PAGE_BYTES]));
            page[place..place + part.len()].copy_from_slice(part);
            (at, bytes) = (at + part.len(), rest);
        }
    }
    Ok(Image::new(pages))
}

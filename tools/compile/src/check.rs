//! Holds a WebAssembly module against the guest ABI before it is compiled.
//!
//! Owns [`check`] and [`Flaw`]. What passes here links on a node: its imports exist with their
//! types, its memory is exported, it has an entry, and nothing runs before the entry is called.

use craton_engine::{
    BEGINS_ANEW, DATA_IN_PAGES, Import, MEMORY, MODULE, Scalar, WASI_IMPORTS, WASI_MODULE,
    imports_of,
};
use std::fmt;
use wasmparser::{CompositeInnerType, ExternalKind, FuncType, Parser, Payload, TypeRef, ValType};

/// What keeps a module from being a program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Flaw {
    /// It is not a WebAssembly module.
    NotWasm(String),
    /// It imports from a module that no node has.
    UnknownModule {
        /// The module it imports from.
        module: String,
        /// What it imports.
        name: String,
    },
    /// It imports something that is not there from a module that is.
    UnknownImport {
        /// The module it imports from.
        module: String,
        /// What it imports.
        name: String,
    },
    /// It imports a function with another type.
    ImportType {
        /// The module it imports from.
        module: String,
        /// The function.
        name: String,
        /// Its type, as the ABI has it.
        expected: String,
    },
    /// It has no memory exported as `memory`.
    NoMemory,
    /// It exports no function without parameters and results.
    NoEntry,
    /// It exports a name that only the compiler may.
    ReservedExport(&'static str),
    /// It has a start function, which would run before the process does.
    StartFunction,
}

/// Checks that a node can link and start `wasm`.
///
/// # Errors
///
/// The first [`Flaw`] found.
pub fn check(wasm: &[u8]) -> Result<(), Flaw> {
    if !wasm.starts_with(b"\0asm") {
        return Err(Flaw::NotWasm("it does not begin with the bytes of one".into()));
    }
    let mut module = Shape::default();
    for payload in Parser::new(0).parse_all(wasm) {
        module.read(payload.map_err(not_wasm)?)?;
    }
    if !module.memory {
        return Err(Flaw::NoMemory);
    }
    let is_entry = |index: &u32| module.function(*index).is_some_and(takes_and_gives_nothing);
    if !module.exports.iter().any(is_entry) {
        return Err(Flaw::NoEntry);
    }
    Ok(())
}

/// What of a module matters here.
#[derive(Default)]
struct Shape {
    /// Its types; `None` for those that are no function's.
    types: Vec<Option<FuncType>>,
    /// Type index of each function, imported ones first.
    functions: Vec<u32>,
    /// Indices of the exported functions.
    exports: Vec<u32>,
    memory: bool,
}

impl Shape {
    fn read(&mut self, payload: Payload<'_>) -> Result<(), Flaw> {
        match payload {
            Payload::TypeSection(types) => {
                for group in types {
                    for kind in group.map_err(not_wasm)?.into_types() {
                        self.types.push(match kind.composite_type.inner {
                            CompositeInnerType::Func(function) => Some(function),
                            _ => None,
                        });
                    }
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import.map_err(not_wasm)?;
                    self.import(import.module, import.name, import.ty)?;
                }
            }
            Payload::FunctionSection(functions) => {
                for index in functions {
                    self.functions.push(index.map_err(not_wasm)?);
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export.map_err(not_wasm)?;
                    let reserved = [BEGINS_ANEW, DATA_IN_PAGES];
                    if let Some(name) = reserved.into_iter().find(|name| *name == export.name) {
                        return Err(Flaw::ReservedExport(name));
                    }
                    self.memory |= export.kind == ExternalKind::Memory && export.name == MEMORY;
                    if export.kind == ExternalKind::Func {
                        self.exports.push(export.index);
                    }
                }
            }
            Payload::StartSection { .. } => return Err(Flaw::StartFunction),
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, module: &str, name: &str, kind: TypeRef) -> Result<(), Flaw> {
        let Some(imports) = imports_of(module) else {
            return Err(Flaw::UnknownModule { module: module.into(), name: name.into() });
        };
        let unknown = || Flaw::UnknownImport { module: module.into(), name: name.into() };
        let TypeRef::Func(index) = kind else {
            return Err(unknown());
        };
        let known = imports.iter().find(|import| import.name == name).ok_or_else(unknown)?;
        self.functions.push(index);
        let given = self.types.get(index as usize).and_then(Option::as_ref);
        if given.is_some_and(|given| has_type(known, given)) {
            return Ok(());
        }
        let expected = type_text(known);
        Err(Flaw::ImportType { module: module.into(), name: name.into(), expected })
    }

    fn function(&self, index: u32) -> Option<&FuncType> {
        let kind = *self.functions.get(index as usize)?;
        self.types.get(kind as usize)?.as_ref()
    }
}

fn takes_and_gives_nothing(function: &FuncType) -> bool {
    function.params().is_empty() && function.results().is_empty()
}

fn has_type(import: &Import, function: &FuncType) -> bool {
    let parameters = import.parameters.iter().copied().map(value_type);
    let result = import.result.into_iter().map(value_type);
    function.params().iter().copied().eq(parameters)
        && function.results().iter().copied().eq(result)
}

fn value_type(scalar: Scalar) -> ValType {
    match scalar {
        Scalar::I32 => ValType::I32,
        Scalar::I64 => ValType::I64,
    }
}

fn type_text(import: &Import) -> String {
    let text = |scalar: &Scalar| value_type(*scalar).to_string();
    let parameters: Vec<String> = import.parameters.iter().map(text).collect();
    let result = import.result.as_ref().map_or_else(|| "nothing".to_string(), text);
    format!("({}) -> {result}", parameters.join(", "))
}

fn not_wasm(error: impl fmt::Display) -> Flaw {
    Flaw::NotWasm(error.to_string())
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::NotWasm(why) => write!(f, "this is no WebAssembly module: {why}"),
            Flaw::UnknownModule { module, name } => write!(
                f,
                "it imports {module}.{name}; a node only has the modules {MODULE:?} and \
                 {WASI_MODULE:?}"
            ),
            Flaw::UnknownImport { module, name } if module == WASI_MODULE => {
                write!(f, "it imports {module}.{name}, which no node has; of WASI there are ")?;
                let names: Vec<&str> = WASI_IMPORTS.iter().map(|import| import.name).collect();
                f.write_str(&names.join(", "))
            }
            Flaw::UnknownImport { module, name } => {
                write!(f, "it imports {module}.{name}, which no node has")
            }
            Flaw::ImportType { module, name, expected } => {
                write!(f, "it imports {module}.{name} with a wrong type; it is {expected}")
            }
            Flaw::NoMemory => write!(f, "it exports no memory under the name {MEMORY:?}"),
            Flaw::NoEntry => f.write_str(
                "it exports no function that takes and returns nothing, so there is no entry",
            ),
            Flaw::ReservedExport(name) => {
                write!(f, "it exports {name:?}, a name that only the compiler gives")
            }
            Flaw::StartFunction => {
                f.write_str("it has a start function; export an entry and do that work there")
            }
        }
    }
}

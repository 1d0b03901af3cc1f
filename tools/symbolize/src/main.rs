//! Writes the kernel's function names into the kernel, for its backtraces.
//!
//! Owns the step of `make kernel` after the link: it reads the symbols of the ELF file given as its
//! argument, demangles them and fills the section `.symbols` that the linker script reserved. The
//! format is `craton-symbols`'; a kernel that skipped this step shows addresses instead.

use craton_symbols::encode;
use object::{Object, ObjectSection, ObjectSymbol};
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

/// What names are cut to: the first that makes the table fit.
const NAME_BYTES: [usize; 5] = [200, 120, 80, 50, 30];

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: craton-symbolize KERNEL");
        return ExitCode::FAILURE;
    };
    match symbolize(path.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot give {} its symbols: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}

fn symbolize(path: &Path) -> Result<(), Box<dyn Error>> {
    let mut elf = std::fs::read(path)?;
    let (table, place) = table(&elf)?;
    elf[place..place + table.len()].copy_from_slice(&table);
    Ok(std::fs::write(path, elf)?)
}

/// The table, and where in the file it belongs.
fn table(elf: &[u8]) -> Result<(Vec<u8>, usize), Box<dyn Error>> {
    let file = object::File::parse(elf)?;
    let reserved = file.section_by_name(".symbols").ok_or("it has no section .symbols")?;
    let (place, room) = reserved.file_range().ok_or("its section .symbols is not in the file")?;
    let (place, room) = (usize::try_from(place)?, usize::try_from(room)?);
    let text = file.section_by_name(".text").ok_or("it has no section .text")?;
    let text_bytes = u32::try_from(text.size())?;
    let functions = functions(&file, text.address()..text.address() + text.size());
    let borrowed: Vec<_> = functions.iter().map(|(at, name)| (*at, name.as_str())).collect();
    let tables = NAME_BYTES.map(|bytes| encode(text.address(), text_bytes, &borrowed, bytes));
    let needed = tables.last().map_or(0, Vec::len);
    let fits = tables.into_iter().find(|table| table.len() <= room).ok_or_else(|| {
        format!("they take {needed} bytes and kernel.ld reserves {room} for .symbols")
    })?;
    // The whole section is written, so that a second run leaves nothing of the first.
    let mut whole = fits;
    whole.resize(room, 0);
    elf.get(place..place + room).ok_or("its section .symbols is cut off")?;
    Ok((whole, place))
}

/// The functions within the text, by address; of several names for one address the shortest first.
fn functions(file: &object::File<'_>, text: std::ops::Range<u64>) -> Vec<(u64, String)> {
    let mut functions: Vec<(u64, String)> = file
        .symbols()
        .filter(|symbol| text.contains(&symbol.address()) && !symbol.is_undefined())
        .filter_map(|symbol| Some((symbol.address(), readable(symbol.name().ok()?))))
        .filter(|(_, name)| !name.is_empty() && !name.starts_with('.'))
        .collect();
    functions.sort_by(|a, b| (a.0, a.1.len(), &a.1).cmp(&(b.0, b.1.len(), &b.1)));
    functions
}

/// A name as its author wrote it, without the compiler's hash.
fn readable(mangled: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(mangled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_mangling_and_hash() {
        let mangled = "_ZN10craton_hal5fault7provoke17h99c98eddfb692286E";
        assert_eq!(readable(mangled), "craton_hal::fault::provoke");
        assert_eq!(readable("pvh_start"), "pvh_start");
    }

    #[test]
    fn what_is_no_kernel_is_refused_in_words() {
        assert!(table(b"no ELF").is_err());
        let own = std::env::current_exe().and_then(std::fs::read).expect("a test can read itself");
        let error = table(&own).expect_err("a test has no such section").to_string();
        assert_eq!(error, "it has no section .symbols");
    }
}

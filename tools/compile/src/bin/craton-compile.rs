//! Makes a signed bundle of one `.wasm` or `.wat` file: for tests and for looking inside.
//!
//! `craton build` is what a program's author uses; this is the compiler alone.

use craton_bundle::{CompilerSecret, program_id};
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: craton-compile INPUT.wasm|INPUT.wat OUTPUT SECRET
    SECRET is 64 hexadecimal digits; prints the compiler key and the program's id";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, secret] = arguments.as_slice() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(Path::new(input), Path::new(output), secret) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("craton-compile: {input}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(input: &Path, output: &Path, secret: &str) -> Result<(), Box<dyn Error>> {
    let secret: CompilerSecret = secret.parse()?;
    let wasm = wat::parse_file(input)?;
    let name = input.file_stem().map_or_else(Default::default, |stem| stem.to_string_lossy());
    let bundle = craton_compile::bundle(&name, &wasm, &secret)?;
    std::fs::write(output, &bundle)?;
    println!("key={}", secret.key());
    println!("program={}", program_id(&bundle));
    println!("bytes={}", bundle.len());
    Ok(())
}

//! The demo behind `make run`: three bare machines boot, join and count words.
//!
//! Owns the story that a person reads: boot, join, run, check, stay. It uses the tool's library as
//! `craton up` and `craton run` do, and checks the cluster's result against a plain count here.

use clap::Parser;
use craton_abi::Place;
use craton_tool::client::{Client, RunIo};
use craton_tool::commands::{Machines, Running, boot, print_nodes};
use craton_tool::error::{Context, Error, Result, exit_code};
use craton_tool::keys::Keys;
use craton_tool::signals;
use craton_tool::table::bytes;
use craton_tool::text::Text;
use craton_tool::{complain, say};
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// Enough text that the answer takes a while on emulated machines.
const TEXT_BYTES_WANTED: u64 = 50_000_000;

/// Boots machines, joins them, counts the words of a large text on all of them.
#[derive(Parser)]
#[command(name = "craton-demo", version)]
struct Arguments {
    /// How many machines
    #[arg(long, default_value_t = 3)]
    nodes: u8,
    #[command(flatten)]
    machines: Machines,
    /// The folder whose files are the text [default: the sources of this build's dependencies]
    #[arg(long)]
    text: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = run(&Arguments::parse());
    exit_code("craton", done.map(|()| ExitCode::SUCCESS))
}

fn run(arguments: &Arguments) -> Result<()> {
    let options = arguments.machines.options(arguments.nodes)?;
    let keys_folder = arguments.machines.keys_folder()?;
    let (down, downed) = channel();
    let running = boot(&options, &arguments.machines.cluster, keys_folder, down.clone())?;
    let node = running.registered.nodes.first();
    let node = node.ok_or_else(|| Error::new("reach the cluster", "it has no nodes"))?;
    let keys = Keys::load(&running.registered.keys)?;
    let mut client = Client::connect(node.forwarded, &keys)?;
    say!();
    print_nodes(&mut client)?;
    say!();
    let text = Text::find(arguments.text.as_deref(), TEXT_BYTES_WANTED)?;
    count(&mut client, &text)?;
    stay(running, down, &downed)
}

/// Counts on the cluster, counts again here, and compares.
fn count(client: &mut Client, text: &Text) -> Result<()> {
    say!(
        "counting the words of {} in {} files under {}",
        bytes(text.bytes),
        text.files.len(),
        text.folder.display()
    );
    let bundle = std::fs::read(craton_tool::beside("programs/wordcount.craton")?)
        .tried(|| "read the program (make build makes it)".into())?;
    let mut printed = Vec::new();
    let started = Instant::now();
    let total = text.bytes;
    let look = io::stderr().is_terminal();
    let mut tenths = 0;
    let io = RunIo {
        input: Box::new(text.reader()),
        output: &mut |_, bytes| {
            printed.extend_from_slice(bytes);
            Ok(())
        },
        progress: &mut |sent| {
            let now = sent * 10 / total.max(1);
            if now > tenths {
                tenths = now;
                let rate = (sent as f64 / started.elapsed().as_secs_f64()) as u64;
                let end = if look && sent < total { "\r" } else { "\n" };
                complain!(+ "  {:>3} %  {:>9}  {:>9}/s{end}", now * 10, bytes(sent), bytes(rate));
            }
        },
        stop: None,
    };
    let end = client.run(&bundle, Vec::new(), Place::Here, io)?;
    let elapsed = started.elapsed();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    say!(+ "\n{printed}");
    if !end.reason.is_orderly() {
        return Err(Error::new("count the words", end.reason));
    }
    let rate = (total as f64 / elapsed.as_secs_f64()) as u64;
    say!("\ncounted in {:.2} s: {}/s", elapsed.as_secs_f64(), bytes(rate));
    let counts = wordcount_reference::count(text.reader()).tried(|| "count here".into())?;
    let expected = String::from_utf8_lossy(&wordcount_reference::render(&counts)).into_owned();
    if printed != expected {
        let happened = format!("the cluster's answer differs; this machine counts\n{expected}");
        return Err(Error::new("check the result", happened));
    }
    say!("a plain count on this machine gives the same");
    Ok(())
}

/// On a terminal: tells how to reach the cluster and stays. Else ends at once.
fn stay(running: Running, down: std::sync::mpsc::Sender<()>, downed: &Receiver<()>) -> Result<()> {
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        running.end();
        return Ok(());
    }
    signals::forward_to(down)?;
    say!("\nthe cluster stays up; from another terminal, in this folder:");
    say!("  build/craton nodes");
    say!("  build/craton ps");
    say!("  build/craton run build/programs/hello.craton");
    say!("  build/craton run build/programs/wordcount.craton < FILE");
    say!("  build/craton logs --node n2");
    say!("Ctrl-C here, or build/craton down, ends it");
    running.wait_and_end(downed);
    Ok(())
}

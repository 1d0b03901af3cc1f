//! Programs that connect by TLS, to servers that nobody here wrote: OpenSSL's.
//!
//! `cron` gets a page of each of some servers, whose certificates a test's own authority made. Who
//! proves a name is believed, and nobody else. Needs what a tap needs, and openssl.

use crate::bed::program_for;
use crate::command::text;
use craton_abi::{Place, limit};
use craton_qemu::testing::{in_network_namespace, kernel, launch};
use craton_qemu::{GATEWAY_ADDRESS, MachineConfig, Tap, node_address, node_mac};
use craton_tool::client::{Client, RunIo};
use craton_tool::keys::Keys;
use craton_tool::scratch::Scratch;
use std::io::{Cursor, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;

const PAGE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";

/// A server: its certificate's authority, key, name and end, what it is told, and what `cron` says.
struct Case {
    authority: &'static str,
    key: &'static [&'static str],
    name: &'static str,
    end: &'static str,
    options: &'static [&'static str],
    said: &'static str,
}

const EC: &[&str] = &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
const EC384: &[&str] = &["ec", "-pkeyopt", "ec_paramgen_curve:P-384"];
const RSA: &[&str] = &["rsa", "-pkeyopt", "rsa_keygen_bits:2048"];
const ED: &[&str] = &["ed25519"];
const LATE: &str = "20991231000000Z";
const PAST: &str = "20210101000000Z";
const HERE: &str = "IP:10.77.0.1";

const fn good(key: &'static [&'static str], options: &'static [&'static str]) -> Case {
    Case { authority: "ec", key, name: HERE, end: LATE, options, said: ": done" }
}

/// A good one with something wrong.
const CASES: [Case; 9] = [
    good(EC, &["-tls1_3"]),
    // A group and a cipher that are not the first choice: the client is asked again.
    good(EC384, &["-tls1_3", "-groups", "P-256", "-ciphersuites", "TLS_AES_128_GCM_SHA256"]),
    Case { authority: "rsa", ..good(RSA, &[]) },
    good(ED, &[]),
    Case { name: "DNS:other.example", said: "is for another name", ..good(EC, &[]) },
    Case { name: "IP:10.77.0.2", said: "is for another name", ..good(EC, &[]) },
    Case { end: PAST, said: "has expired", ..good(EC, &[]) },
    Case { authority: "other", said: "no authority that is trusted", ..good(EC, &[]) },
    Case { said: "does not speak TLS 1.3", ..good(EC, &["-tls1_2"]) },
];

/// A folder with keys and certificates.
struct Authority(Scratch);

impl Authority {
    fn new() -> Authority {
        let folder = Scratch::new("tls").unwrap();
        std::fs::write(folder.path().join("page"), PAGE).unwrap();
        let authority = Authority(folder);
        for (name, key) in [("ec", EC), ("rsa", RSA), ("other", EC)] {
            authority.key(name, key);
            let (key, subject) = (format!("{name}.key"), format!("/CN={name} authority"));
            let out = format!("{name}.pem");
            authority.openssl(&["req", "-x509", "-key", &key, "-subj", &subject, "-out", &out]);
        }
        authority
    }

    fn openssl(&self, arguments: &[&str]) {
        let output =
            Command::new("openssl").args(arguments).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    }

    fn key(&self, name: &str, kind: &[&str]) {
        let out = format!("{name}.key");
        self.openssl(&[&["genpkey", "-out", &out, "-algorithm"], kind].concat());
    }

    /// Makes a certificate `name.pem`.
    fn certify(&self, name: &str, case: &Case) {
        self.key(name, case.key);
        let (key, request, out) = (format!("{name}.key"), format!("{name}.csr"), name.to_owned());
        self.openssl(&["req", "-new", "-key", &key, "-subj", "/CN=server", "-out", &request]);
        let ca = case.authority;
        let config = format!(
            "[ca]\ndefault_ca = it\n[it]\ndatabase = {out}.db\nserial = {out}.serial\n\
             new_certs_dir = .\ncertificate = {ca}.pem\nprivate_key = {ca}.key\n\
             default_md = sha256\npolicy = any\nx509_extensions = of\n[any]\n\
             commonName = supplied\n[of]\nsubjectAltName = {}\n",
            case.name
        );
        std::fs::write(self.0.path().join(format!("{out}.cnf")), config).unwrap();
        std::fs::write(self.0.path().join(format!("{out}.db")), "").unwrap();
        std::fs::write(self.0.path().join(format!("{out}.serial")), "0123\n").unwrap();
        let (config, pem) = (format!("{out}.cnf"), format!("{out}.pem"));
        let times = ["-startdate", "20200101000000Z", "-enddate", case.end];
        let files = ["ca", "-batch", "-config", &config, "-in", &request, "-out", &pem, "-notext"];
        self.openssl(&[&files[..], &times].concat());
    }

    /// Serves the page with the certificate `name.pem`.
    fn serve(&self, name: &str, port: u16, options: &[&str]) -> Server {
        let (port, key, pem) = (port.to_string(), format!("{name}.key"), format!("{name}.pem"));
        // It ends with this process.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "openssl", "s_server", "-HTTP", "-accept", &port]);
        command.args(["-key", &key, "-cert", &pem]).args(options).current_dir(self.0.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = command.spawn().unwrap();
        // It says so when it listens.
        let (mut said, mut out) = (Vec::new(), server.stdout.take().unwrap());
        let mut block = [0; 256];
        while !text(&said).contains("ACCEPT") {
            let len = out.read(&mut block).unwrap();
            assert!(len > 0, "s_server ends: {}", text(&said));
            said.extend_from_slice(&block[..len]);
        }
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        Server(server)
    }
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// Speaks no TLS to whoever connects.
fn serve_nonsense() -> u16 {
    let listener = TcpListener::bind((GATEWAY_ADDRESS, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(b"220 mail.example ready to serve you\r\n");
            // Bytes that nobody has read would make its end a reset.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    port
}

#[test]
fn a_server_is_who_it_proves_to_be() {
    in_network_namespace("tls::a_server_is_who_it_proves_to_be", || {
        let tap = Tap::start("tap0").unwrap();
        let authority = Authority::new();
        let (mut servers, mut expected) = (Vec::new(), Vec::new());
        let mut table = read(authority.0.path(), "ec.pem") + &read(authority.0.path(), "rsa.pem");
        let mut expect = |port: u16, said| {
            let job = format!("@every 1s get https://{GATEWAY_ADDRESS}:{port}/page");
            table += &format!("{job}\n");
            expected.push((job, said));
        };
        for (port, case) in (4430..).zip(&CASES) {
            let name = format!("server{port}");
            authority.certify(&name, case);
            servers.push(authority.serve(&name, port, case.options));
            expect(port, case.said);
        }
        expect(serve_nonsense(), "does not speak TLS 1.3");
        let said = keep(&tap, table, |said| {
            // Something, whatever it is: that is judged when all have said it.
            let is_told = |(job, _): &(String, &str)| told_of(said, job).next().is_some();
            expected.iter().all(is_told)
        });
        for (job, words) in &expected {
            for line in told_of(&said, job) {
                assert!(line.contains(words), "{line}: {words} is expected");
            }
        }
    });
}

/// What came of a job, each time that it was over.
fn told_of<'a>(said: &'a str, job: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = said.lines().filter(move |line| line.starts_with(job));
    lines.filter(|line| !line.ends_with("still running"))
}

/// Has a node keep a table until what it says is enough.
fn keep(tap: &Tap, table: String, is_enough: impl Fn(&str) -> bool) -> String {
    let keys = Keys::generate("tester").unwrap();
    let config = keys.node_config("n1").unwrap().render();
    let machine = MachineConfig::new(kernel()).memory_mib(128).node_config(config);
    let machine = launch(machine.tap(tap, node_mac(0)));
    machine.expect_line(" node: address ");
    let to = (node_address(0), limit::SESSION_PORT).into();
    let mut client = Client::connect(to, &keys).unwrap();
    let (stop, stopped) = channel();
    let mut said = String::new();
    let io = RunIo {
        input: Box::new(Cursor::new(table)),
        output: &mut |_, bytes| {
            said.push_str(&text(bytes));
            if is_enough(&said) {
                // A second word to stop changes nothing.
                let _ = stop.send(());
            }
            Ok(())
        },
        progress: &mut |_| {},
        stop: Some(stopped),
    };
    let end = client.run(&program_for("cron", &keys), Vec::new(), Place::Here, io).unwrap();
    assert!(end.stopped, "{}: {said}", end.reason);
    said
}

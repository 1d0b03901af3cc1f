//! HTTP of both sides, with good and bad partners, on threads.

use craton::host::{self, Scenario};
use craton::http::{
    Body, Chunks, Client, HttpError, Refused, Request, RequestHead, Response, ResponseHead, Routes,
    Url,
};
use craton::net::{TcpListener, TcpStream};
use craton::{Duration, Error, ErrorCode, ExitReason, Run, SpawnOptions, kill};
use std::net::{Ipv4Addr, SocketAddr};

const LONG: Duration = Duration::from_secs(60);

fn request(text: &str) -> Result<Option<RequestHead>, Refused> {
    RequestHead::parse(text.as_bytes())
}

fn response(text: &str) -> Result<Option<ResponseHead>, Refused> {
    ResponseHead::parse(text.as_bytes())
}

#[test]
fn a_request_is_what_it_says() {
    let text = "POST /a/b?c=d#e HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nX-Two: 1\r\n\r\nabcde";
    let head = request(text).expect("good").expect("whole");
    assert_eq!((head.method.as_str(), head.path.as_str()), ("POST", "/a/b"));
    assert_eq!((head.query.as_deref(), head.body), (Some("c=d"), Body::Length(5)));
    assert_eq!(head.headers.get("x-two"), Some("1"));
    assert_eq!(head.bytes, text.len() - 5);
    for len in 0..text.len() - 5 {
        assert_eq!(request(&text[..len]), Ok(None), "{len} bytes are no head");
    }
}

#[test]
fn what_is_wrong_first_is_what_is_said_however_it_comes() {
    let many = "a: b\r\n".repeat(65);
    for (text, status) in [
        (format!("GET / HTTP/1.1\n{many}\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n{many}c: d\n\r\n"), 431),
        (format!("\nGET / HTTP/1.1\r\n{many}\r\n"), 400),
        ("\nGET / HTTP/2.0\r\n\r\n".into(), 400),
        ("\r\nGET / HTTP/2.0\r\n\r\n".into(), 505),
        (format!("GET / HTTP/1.1\na: {}", "b".repeat(9000)), 400),
        (format!("GET / HTTP/1.1\r\na: {}\n", "b".repeat(9000)), 431),
    ] {
        let mut parts = (0..=text.len()).map(|end| request(&text[..end]));
        let first = parts.find(|part| *part != Ok(None));
        assert_eq!(first, Some(Err(Refused(status))), "in parts: {text:?}");
        assert_eq!(request(&text), Err(Refused(status)), "at once: {text:?}");
    }
}

#[test]
fn whether_to_ask_again_is_as_the_version_has_it() {
    let keeps = |text| request(text).expect("good").expect("whole").keep_alive;
    assert!(keeps("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert!(!keeps("GET / HTTP/1.1\r\nHost: x\r\nConnection: TE, Close\r\n\r\n"));
    assert!(!keeps("GET / HTTP/1.1\r\nHost: x\r\nConnection: close, keep-alive\r\n\r\n"));
    assert!(!keeps("GET / HTTP/1.0\r\n\r\n"));
    assert!(keeps("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
}

#[test]
fn lengths_that_two_readers_could_read_differently_are_refused() {
    let with = |headers: &str| request(&format!("POST / HTTP/1.1\r\nHost: x\r\n{headers}\r\n"));
    let body = |headers: &str| with(headers).map(|head| head.expect("whole").body);
    assert_eq!(body("Content-Length: 3\r\nContent-Length: 3\r\n"), Ok(Body::Length(3)));
    assert_eq!(body("Transfer-Encoding: chunked\r\n"), Ok(Body::Chunked));
    assert_eq!(body(""), Ok(Body::Length(0)));
    for bad in [
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: 3, 4\r\n",
        "Content-Length:\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 99999999999999999999999999\r\n",
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Host: y\r\n",
        "Bad Name: y\r\n",
        "Folded: a\r\n b\r\n",
    ] {
        assert_eq!(with(bad), Err(Refused(400)), "{bad}");
    }
    for bad in ["gzip, chunked", "chunked, chunked", "chunked\r\nTransfer-Encoding: chunked", "x"] {
        assert_eq!(with(&format!("Transfer-Encoding: {bad}\r\n")), Err(Refused(501)), "{bad}");
    }
    // White space of Unicode is none of HTTP.
    for space in ["\u{a0}", "\u{85}", "\u{3000}", "\u{2028}"] {
        let length = format!("Content-Length: 3{space}\r\n");
        assert_eq!(with(&length), Err(Refused(400)), "{length:?}");
        let length = format!("Content-Length: {space}3\r\n");
        assert_eq!(with(&length), Err(Refused(400)), "{length:?}");
        for chunked in [format!("chunked{space}"), format!("{space}chunked")] {
            let chunked = format!("Transfer-Encoding: {chunked}\r\n");
            assert_eq!(with(&chunked), Err(Refused(501)), "{chunked:?}");
        }
        let close = with(&format!("Connection: close{space}, x\r\n"));
        assert!(close.expect("good").expect("whole").keep_alive, "{space:?}");
    }
    assert_eq!(body("Content-Length: \t 3 \t\r\n"), Ok(Body::Length(3)));
    assert_eq!(request("GET / HTTP/1.1\r\n\r\n"), Err(Refused(400)), "no host");
    assert_eq!(request("GET / HTTP/2.0\r\n\r\n"), Err(Refused(505)));
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(request(old), Err(Refused(400)));
    let long = format!("GET / HTTP/1.1\r\nHost: {}", "x".repeat(9_000));
    assert_eq!(request(&long), Err(Refused(431)));
    assert_eq!(request(&format!("{long}\r\n\r\n")), Err(Refused(431)));
    assert_eq!(with(&"a: b\r\n".repeat(80)), Err(Refused(431)));
}

/// Where one reader ends a line and the next does not, a second message could hide.
#[test]
fn a_line_of_a_head_ends_with_both_its_bytes() {
    let good = "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n";
    assert!(matches!(request(&format!("{good}\n\n")), Ok(Some(_))), "what follows is a body");
    for (at, _) in good.match_indices("\r\n") {
        let bad = format!("{}{}", &good[..at], &good[at + 1..]);
        for bytes in [&bad[..at + 1], &bad[..], &format!("{bad}\r\n")] {
            assert_eq!(request(bytes), Err(Refused(400)), "{bytes:?}");
        }
        let bad = bad.replace("GET / HTTP/1.1", "HTTP/1.1 200 OK");
        assert_eq!(response(&bad), Err(Refused(400)), "{bad:?}");
    }
    assert_eq!(request(&format!("\n{good}")), Err(Refused(400)));
}

#[test]
fn who_is_told_to_continue_must_understand_it() {
    let expects = |version, value| {
        let text = format!("POST / HTTP/{version}\r\nHost: x\r\nExpect: {value}\r\n\r\n");
        request(&text).expect("good").expect("whole").expects
    };
    assert!(expects("1.1", "100-Continue"));
    assert!(!expects("1.0", "100-continue"));
    assert!(!expects("1.1", "200-ok"));
}

#[test]
fn a_response_is_as_long_as_it_says() {
    let body = |text: &str| response(text).map(|head| head.expect("whole").body);
    assert_eq!(body("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"), Ok(Body::Length(7)));
    assert_eq!(body("HTTP/1.1 200\r\n\r\n"), Ok(Body::UntilEnd));
    assert_eq!(body("HTTP/1.0 200 fine\r\nTransfer-Encoding: Chunked\r\n\r\n"), Ok(Body::Chunked));
    for status in [100, 204, 304] {
        let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 7\r\n\r\n");
        assert_eq!(body(&text), Ok(Body::Length(0)), "{status} has no body");
    }
    assert_eq!(response("HTTP/1.1 200 OK\r\n"), Ok(None));
    for bad in ["HTTP/1.1 099 X\r\n\r\n", "HTTP/1.1 600 X\r\n\r\n"] {
        assert_eq!(response(bad), Err(Refused(400)), "{bad:?}");
    }
    for other in ["hello\r\n\r\n", "\u{16}\u{3}\u{1}"] {
        assert_eq!(response(other), Err(Refused(505)), "{other:?}");
    }
}

/// What chunks come to if they arrive in parts of this length.
fn unchunk(text: &str, part: usize, bytes_max: usize) -> Result<Option<(Vec<u8>, usize)>, Refused> {
    let (mut chunks, mut bytes) = (Chunks::new(bytes_max), Vec::new());
    for part in text.as_bytes().chunks(part) {
        bytes.extend_from_slice(part);
        if let Some(body) = chunks.take(&mut bytes)? {
            return Ok(Some((body, bytes.len())));
        }
    }
    Ok(None)
}

#[test]
fn chunks_are_put_together_however_they_come() {
    let text = "5\r\nhello\r\n1;x=y\r\n,\r\nB\r\n 0123\r\n\r\n\r\n\r\n0\r\nTrailer: x\r\n\r\n";
    for part in 1..text.len() {
        let (body, _) = unchunk(text, part, 100).expect("good").expect("whole");
        assert_eq!(body, b"hello, 0123\r\n\r\n\r\n", "in parts of {part}");
    }
    // What follows is another message's.
    assert_eq!(unchunk("0\r\n\r\nGET", 100, 0), Ok(Some((Vec::new(), 3))));
    assert_eq!(unchunk("5\r\nhel", 2, 100), Ok(None));
    assert_eq!(unchunk("5\r\nhello\r\n", 2, 4), Err(Refused(413)));
    assert_eq!(unchunk("3\r\nhel\r\n2\r\nlo\r\n", 2, 4), Err(Refused(413)));
    assert_eq!(unchunk("FFFFFFFFFFFFFFFF\r\n", 2, 100), Err(Refused(413)));
    for bad in ["x\r\n", "5\r\nhelloX\r\n", "-1\r\n", "\r\n", "11111111111111111\r\n"] {
        assert_eq!(unchunk(bad, 1, 100), Err(Refused(400)), "{bad:?}");
    }
    for bad in [
        "5\nhello\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "5;a\n\r\nhello\r\n0\r\n\r\n",
        "5;a\0b\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;\u{7f}\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "0\r\n\n",
        "0\r\na: b\n\r\n",
        "0\r\na: b\r\nc\n\r\n\r\n",
        "0\r\na: \rb\r\n\r\n",
    ] {
        for part in 1..=bad.len() {
            assert_eq!(unchunk(bad, part, 100), Err(Refused(400)), "{bad:?} in parts of {part}");
        }
    }
    assert_eq!(unchunk(&"1".repeat(400), 7, 100), Err(Refused(400)));
    // Limits hold in whatever parts it comes.
    for (end, what, limit, status) in [("\r\n", "0;", 256, 400), ("\r\n\r\n", "a: ", 8192, 431)] {
        for len in [limit, limit + 1] {
            let line = format!("{what}{}{end}", "x".repeat(len - what.len() - end.len()));
            let text = if status == 400 { format!("{line}\r\n") } else { format!("0\r\n{line}") };
            let expected =
                if len == limit { Ok(Some((Vec::new(), 0))) } else { Err(Refused(status)) };
            for part in [1, 100, text.len()] {
                assert_eq!(unchunk(&text, part, 100), expected, "{len} in parts of {part}");
            }
        }
    }
    let endless = format!("0\r\n{}", "a: b\r\n".repeat(2_000));
    assert_eq!(unchunk(&endless, 100, 100), Err(Refused(431)));
}

#[test]
fn urls_are_read() {
    for good in
        ["http://a.b", "http://10.0.0.1:80/c?d", "https://a-b/", "https://a?x", "http://a#b"]
    {
        assert!(Url::parse(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "a.b",
        "ftp://a/",
        "http://",
        "http:///x",
        "http://:80/",
        "http://a:/",
        "http://a:x/",
        "http://a:+1/",
        "http://a:65536/",
        "http://a b/",
        "http://a/b c",
        "http://a/\r\nx: y",
        "http://u@a/",
        "http://[::1]/",
        "http://a\u{e9}/",
        "HTTP//a",
    ] {
        assert_eq!(Url::parse(bad), Err(HttpError::Url), "{bad:?}");
    }
}

mod program {
    use super::*;

    craton::entries! {
        /// Plays the case that the first argument names.
        pub MAIN: "main" = main_entry as fn(Run);
        /// Serves by routes.
        pub SERVER: "server" = server as fn(());
        /// One of its connections.
        pub CONNECTION: "connection" = connection as fn(());
        /// Says its argument to the next client, whatever that asks.
        pub ODD: "odd" = odd as fn((u16, String));
        /// Takes what the next client says, but slowly.
        pub SLOW: "slow" = slow as fn(());
    }

    fn server(_: ()) -> Result<(), Error> {
        match TcpListener::bind(80)?.serve(&CONNECTION, &(), SpawnOptions::here())? {}
    }

    fn connection(_: ()) {
        fn hello(request: &Request) -> Response {
            let agent = request.headers.get("user-agent").unwrap_or("nobody");
            Response::text(200, &format!("hello, {agent}\n")).header("x-bad\r\n", "y")
        }
        fn echo(request: &Request) -> Response {
            Response::new(201, "application/octet-stream", request.body.clone())
        }
        fn below(request: &Request) -> Response {
            Response::text(200, &format!("{} {:?}", request.path, request.query))
        }
        fn framed(_: &Request) -> Response {
            let answer = Response::text(200, "framed").header("Content-Length", "1");
            let answer = answer.header("Transfer-Encoding", "chunked");
            answer.header("CONNECTION", "keep-alive").header("x-kept", "y")
        }
        fn probe(request: &Request) -> Response {
            Response::text(200, "").header("x-by", &format!("probe {}", request.method))
        }
        /// The headers that the client sent, for people.
        fn headers(request: &Request) -> Response {
            let lines = request.headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
            Response::text(200, &lines.collect::<String>())
        }
        let routes = Routes::new().get("/", hello).post("/echo", echo).get("/below/*", below);
        let routes = routes.get("/framed", framed).on("PUT", "/headers", headers);
        let routes = routes.post("/headers", headers).get("/headers", headers);
        let routes = routes.get("/probe", below).on("HEAD", "/probe", probe);
        let routes = routes.on("HEAD", "/only", probe);
        routes.body_bytes_max(10_000).serve_given();
    }

    fn odd((port, text): (u16, String)) -> Result<(), Error> {
        let mut stream = TcpListener::bind(port)?.accept(Some(LONG))?;
        let _ = stream.read(&mut [0; 1_000])?;
        let _ = stream.write_all(text.as_bytes());
        // A client may well have heard enough by now.
        let _ = stream.finish();
        let _ = stream.read(&mut [0; 10]);
        Ok(())
    }

    fn slow(_: ()) -> Result<(), Error> {
        let mut stream = TcpListener::bind(98)?.accept(Some(LONG))?;
        while let Ok(1..) = stream.read(&mut [0; 4_000]) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Ok(())
    }

    /// Asks until somebody listens.
    fn patiently(
        mut ask: impl FnMut() -> Result<Response, HttpError>,
    ) -> Result<Response, HttpError> {
        loop {
            match ask() {
                Err(HttpError::Network(ErrorCode::Refused)) => craton::yield_now(),
                answer => return answer,
            }
        }
    }

    fn main_entry(run: Run) -> Result<(), String> {
        match run.arguments()[0].as_str() {
            "served" => served(),
            "refused" => refused(),
            "odd" => oddly(),
            other => panic!("no case {other}"),
        }
        .map_err(|error| format!("{error}"))
    }

    fn served() -> Result<(), HttpError> {
        let server = SERVER.spawn(&(), SpawnOptions::here()).expect("a process");
        let client = Client::new().timeout(LONG).header("User-Agent", "a test").header("a b", "c");
        let hello = patiently(|| client.get("http://localhost/"))?;
        assert_eq!((hello.status, hello.body.as_slice()), (200, &b"hello, a test\n"[..]));
        assert_eq!(hello.headers.get("Content-Type"), Some("text/plain; charset=utf-8"));
        assert_eq!(hello.headers.iter().filter(|(name, _)| name.starts_with("x-bad")).count(), 0);
        let body = vec![7; 9_999];
        let echo = client.post("http://localhost:80/echo", "x/y", &body)?;
        assert_eq!((echo.status, echo.body == body), (201, true));
        let below = client.get("http://localhost/below/a/b?c#d")?;
        assert_eq!(below.body, b"/below/a/b Some(\"c\")");
        for (url, status) in [("http://localhost/nothing", 404), ("http://localhost/echo", 405)] {
            let answer = client.get(url)?;
            assert_eq!(answer.status, status);
            assert_eq!(answer.headers.get("allow"), (status == 405).then_some("POST"));
        }
        framing_is_the_librarys()?;
        let long = client.post("http://localhost/echo", "x/y", &[7; 10_001])?;
        assert_eq!(long.status, 413);
        let short = Client::new().timeout(LONG).body_bytes_max(10);
        assert_eq!(short.get("http://localhost/"), Err(HttpError::TooLong));
        assert_eq!(client.get("https://localhost/"), Err(HttpError::NoRoots));
        kill(&server.pid).expect("it may be killed");
        Ok(())
    }

    /// What a program says about lengths is left out, of requests and of answers.
    fn framing_is_the_librarys() -> Result<(), HttpError> {
        let client = Client::new().timeout(LONG).header("Content-Length", "1").header("a", "b");
        let client = client.header("transfer-encoding", "chunked").header("HOST", "elsewhere");
        let client = client.header("Connection", "keep-alive");
        let told = client.post("http://localhost/headers", "x/y", b"abc")?;
        let told = String::from_utf8(told.body).expect("text");
        let expected =
            "host: localhost\nconnection: close\na: b\ncontent-type: x/y\ncontent-length: 3\n";
        assert_eq!(told, expected);
        let told = client.get("http://localhost/headers")?;
        assert_eq!(told.body, b"host: localhost\nconnection: close\na: b\n");
        let framed = client.get("http://localhost/framed")?;
        assert_eq!(
            (framed.body.as_slice(), framed.headers.get("x-kept")),
            (&b"framed"[..], Some("y"))
        );
        for (name, value) in [("content-length", "6"), ("connection", "close")] {
            let given = framed.headers.iter().filter(|(of, _)| of.eq_ignore_ascii_case(name));
            assert_eq!(given.map(|(_, value)| value).collect::<Vec<_>>(), [value]);
        }
        assert_eq!(framed.headers.get("transfer-encoding"), None);
        let only = client.post("http://localhost/probe", "x/y", b"")?;
        assert_eq!((only.status, only.headers.get("allow")), (405, Some("GET, HEAD")));
        Ok(())
    }

    /// Says bytes and hears all that comes.
    fn say(parts: &[&str]) -> Result<String, ErrorCode> {
        let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 80);
        let mut stream = loop {
            match TcpStream::connect(to, Some(LONG)) {
                Err(ErrorCode::Refused) => craton::yield_now(),
                connected => break connected?,
            }
        };
        for part in parts {
            if stream.write_all(part.as_bytes()).is_err() {
                break;
            }
        }
        let _ = stream.finish();
        let (mut all, mut block) = (Vec::new(), [0; 100]);
        loop {
            match stream.read(&mut block)? {
                0 => return Ok(String::from_utf8(all).expect("text")),
                len => all.extend_from_slice(&block[..len]),
            }
        }
    }

    fn refused() -> Result<(), HttpError> {
        let server = SERVER.spawn(&(), SpawnOptions::here()).expect("a process");
        let chunked = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        let said = say(&[chunked, "3\r\nab", "c\r\n0\r\n", "\r\nGET / HTTP/1.0\r\n\r\n"])?;
        assert!(said.contains("\r\n\r\nabcHTTP/1.1 200 OK\r\n"), "{said}");
        assert!(said.ends_with("connection: close\r\n\r\nhello, nobody\n"), "{said}");
        let expects =
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
        let said = say(&[expects])?;
        assert!(said.starts_with("HTTP/1.1 100 Continue\r\n\r\n"), "{said}");
        // A body that would be refused is not asked for; nor is one of whom cannot know the word.
        let said = say(&[&expects.replace("Length: 2", "Length: 10001")])?;
        assert!(said.starts_with("HTTP/1.1 413 "), "{said}");
        assert_eq!(say(&[&expects.replace("HTTP/1.1", "HTTP/1.0")])?, "");
        for path in ["/probe", "/only"] {
            let said = say(&[&format!("HEAD {path} HTTP/1.0\r\n\r\n")])?;
            assert!(said.contains("\r\nx-by: probe HEAD\r\n"), "{said}");
        }
        let said = say(&["HEAD / HTTP/1.0\r\n\r\n"])?;
        assert!(said.contains("content-length: 14\r\n") && said.ends_with("\r\n\r\n"), "{said}");
        for (bad, status) in [
            ("nonsense\r\n\r\n", "400 Bad Request"),
            ("GET / HTTP/3.0\r\n\r\n", "505 HTTP Version Not Supported"),
            (
                "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: x\r\n\r\n",
                "501 Not Implemented",
            ),
            (
                "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10001\r\n\r\n",
                "413 Content Too Large",
            ),
        ] {
            // What follows is not read: nobody knows where it begins.
            let said = say(&[bad, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"])?;
            assert!(said.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{bad}: {said}");
            assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
        }
        let said = say(&[chunked, "3\r\nabcXY"])?;
        assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
        assert_eq!(say(&["GET / HTT"])?, "", "a client that goes is told nothing");
        kill(&server.pid).expect("it may be killed");
        Ok(())
    }

    fn oddly() -> Result<(), HttpError> {
        let long = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(2_000));
        let interim = "HTTP/1.1 103 Early Hints\r\n\r\n";
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let cases: [(&str, Result<&str, HttpError>); 14] = [
            ("HTTP/1.1 200 OK\r\n\r\nuntil the end", Ok("until the end")),
            ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabcdef", Ok("abc")),
            (&format!("{interim}{interim}HTTP/1.1 200 OK\r\n\r\nx"), Ok("x")),
            (&format!("{chunked}1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"), Ok("abc")),
            ("HTTP/1.1 204 No Content\r\n\r\nabc", Ok("")),
            (&interim.repeat(20), Err(HttpError::Malformed)),
            (&format!("{chunked}3\r\nab"), Err(HttpError::Malformed)),
            (&format!("{chunked}X\r\nab"), Err(HttpError::Malformed)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", Err(HttpError::Malformed)),
            ("HTTP/1.1 200 OK\r\nContent-Le", Err(HttpError::Malformed)),
            ("", Err(HttpError::Malformed)),
            ("220 mail ready\r\n", Err(HttpError::Malformed)),
            (&long, Err(HttpError::TooLong)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", Err(HttpError::TooLong)),
        ];
        for (port, (said, expected)) in (100..).zip(cases) {
            ODD.spawn(&(port, said.into()), SpawnOptions::here()).expect("a process");
            let client = Client::new().timeout(LONG).body_bytes_max(1_000);
            let answer = patiently(|| client.get(&format!("http://localhost:{port}/")));
            let body = answer.map(|answer| String::from_utf8(answer.body).expect("text"));
            assert_eq!(body, expected.map(String::from), "{said}");
        }
        // Nobody answers.
        let _silent = TcpListener::bind(99)?;
        let hasty = Client::new().timeout(Duration::from_millis(30));
        let late = hasty.get("http://localhost:99/");
        assert_eq!(late, Err(HttpError::Network(ErrorCode::TimedOut)));
        // Somebody takes some of it again and again: at this pace all of it would take 10 s.
        SLOW.spawn(&(), SpawnOptions::here()).expect("a process");
        let (hasty, body) = (Client::new().timeout(Duration::from_millis(200)), vec![0; 8 << 20]);
        let start = std::time::Instant::now();
        let late = patiently(|| hasty.post("http://localhost:98/", "x/y", &body));
        assert_eq!(late, Err(HttpError::Network(ErrorCode::TimedOut)));
        assert!(start.elapsed() < std::time::Duration::from_secs(9), "{:?}", start.elapsed());
        Ok(())
    }
}

fn play(case: &str) {
    let scenario = Scenario { arguments: vec![case.into()], ..Scenario::default() };
    let outcome = host::run(program::ENTRIES, scenario);
    assert_eq!(outcome.reason, ExitReason::Normal, "{:?}", outcome.log);
    assert_eq!(outcome.left_over, Vec::<String>::new());
}

#[test]
fn routes_answer_a_client() {
    play("served");
}

#[test]
fn a_server_refuses_what_is_no_request() {
    play("refused");
}

#[test]
fn a_client_bears_any_server() {
    play("odd");
}
